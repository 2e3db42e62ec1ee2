"""Spans in a third of the time."""

import pytest
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from otel_agent import lean_spans
from otel_agent.attribute_values import CleanAttributes
from otel_agent.span_processors import ListeningProcessors

SAMPLERS = [ParentBased(ALWAYS_ON), ParentBased(ALWAYS_OFF), ALWAYS_ON, ALWAYS_OFF, ParentBased(TraceIdRatioBased(1))]


def test_spans_are_like_those_of_the_installed_sdk():
    """The lean spans are used with the SDK that is installed here."""
    assert lean_spans._is_like_the_sdk()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.get_description()[:40])
@pytest.mark.parametrize("flags", [None, 0, 1, 3])
@pytest.mark.parametrize("is_remote", [True, False])
def test_sampling_is_the_samplers(sampler, flags, is_remote):
    """Whatever the sampler and the parent, the span is recorded, flagged and related as the SDK's would be."""
    tracer = TracerProvider(sampler=sampler, active_span_processor=ListeningProcessors()).get_tracer("a")
    context = None
    if flags is not None:
        parent = SpanContext(7, 9, is_remote, TraceFlags(flags), TraceState([("a", "b")]))
        context = set_span_in_context(NonRecordingSpan(parent))

    lean, official = lean_spans.start_span(tracer, "b", context), lean_spans._official(tracer, "b", context)

    assert lean.is_recording() == official.is_recording()
    ours, theirs = lean.get_span_context(), official.get_span_context()
    assert (ours.trace_flags, ours.trace_state, ours.is_remote) == (theirs.trace_flags, theirs.trace_state, False)
    assert (ours.trace_id == 7) == (theirs.trace_id == 7)
    assert getattr(lean, "parent", None) == getattr(official, "parent", None)


def test_a_span_ends_once():
    """Setting attributes and ending behave as they do without us."""
    span = lean_spans.start_span(
        TracerProvider(active_span_processor=ListeningProcessors()).get_tracer("a"), "b", attributes={"c": 1}
    )
    span.set_attribute("d", 2)
    span.end(5)

    assert not span.is_recording()
    assert (dict(span.attributes), span.end_time) == ({"c": 1, "d": 2}, 5)


def test_events_and_links_are_a_spans_own():
    """A span without them shares an empty list with others; the first one that is added is in none but its span."""
    tracer = TracerProvider(active_span_processor=ListeningProcessors()).get_tracer("a")
    full, empty = (lean_spans.start_span(tracer, name) for name in ("full", "empty"))
    full.add_event("b", {"c": 1})
    full.add_event("d")
    full.add_link(empty.get_span_context())

    assert [event.name for event in full.events] == ["b", "d"]
    assert [link.context.span_id for link in full.links] == [empty.get_span_context().span_id]
    assert (empty.events, empty.links, empty.dropped_events) == ((), (), 0)


def test_limits_are_heeded():
    """A span has as many attributes, and values as long, as the provider allows, and counts what it drops."""
    limits = SpanLimits(max_span_attributes=2, max_span_attribute_length=3)
    tracer = TracerProvider(active_span_processor=ListeningProcessors(), span_limits=limits).get_tracer("a")

    few = lean_spans.start_span(tracer, "few", attributes=CleanAttributes({"a": "12345"}))
    few.set_attributes({"b": "c", "d": "e"})
    many = lean_spans.start_span(tracer, "many", attributes={"a": 1, "b": 2, "c": 3})

    assert (dict(few.attributes), few.dropped_attributes) == ({"b": "c", "d": "e"}, 1)
    assert (dict(many.attributes), many.dropped_attributes) == ({"b": 2, "c": 3}, 1)
    assert dict(lean_spans.start_span(tracer, "long", attributes=CleanAttributes({"a": "12345"})).attributes) == {
        "a": "123"
    }


def test_a_failing_block_says_so():
    """What a block raises is on its span, unless the span was started without."""
    tracer = TracerProvider(active_span_processor=ListeningProcessors()).get_tracer("a")
    spans = [lean_spans.start_span(tracer, "b"), lean_spans.start_span(tracer, "b", None, record_exception=False)]
    for span in spans:
        with pytest.raises(ValueError, match="bad"), span:
            raise ValueError("bad")

    assert [[event.name for event in span.events] for span in spans] == [["exception"], []]
    assert [span.status.status_code for span in spans] == [StatusCode.ERROR] * 2


def test_clean_attributes_are_copied():
    """What a span adds to its attributes is in no other span that was given the same ones."""
    tracer, clean = (
        TracerProvider(active_span_processor=ListeningProcessors()).get_tracer("a"),
        CleanAttributes({"a": 1}),
    )
    one, other = (lean_spans.start_span(tracer, "b", attributes=clean) for _ in range(2))
    one.set_attribute("c", 2)

    assert (dict(one.attributes), dict(other.attributes), clean) == ({"a": 1, "c": 2}, {"a": 1}, {"a": 1})


def test_a_provider_of_the_hosts_own_has_the_sdks_spans():
    """What the agent's processors are not told of, it does not take over."""
    span = lean_spans.start_span(TracerProvider().get_tracer("a"), "b")

    assert type(span).__mro__[0].__module__ == "opentelemetry.sdk.trace"
    assert not hasattr(span, "is_lean")
