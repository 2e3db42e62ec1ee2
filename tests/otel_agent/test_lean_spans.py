"""Spans in half the time."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context

from otel_agent import lean_spans

SAMPLERS = [ParentBased(ALWAYS_ON), ParentBased(ALWAYS_OFF), ALWAYS_ON, ALWAYS_OFF, ParentBased(TraceIdRatioBased(1))]


def test_spans_are_like_those_of_the_installed_sdk():
    """The lean spans are used with the SDK that is installed here."""
    assert lean_spans._is_like_the_sdk()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.get_description()[:40])
@pytest.mark.parametrize("flags", [None, 0, 1, 3])
@pytest.mark.parametrize("is_remote", [True, False])
def test_sampling_is_the_samplers(sampler, flags, is_remote):
    """Whatever the sampler and the parent, the span is recorded, flagged and related as the SDK's would be."""
    tracer = TracerProvider(sampler=sampler).get_tracer("a")
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
    span = lean_spans.start_span(TracerProvider().get_tracer("a"), "b", attributes={"c": 1})
    span.set_attribute("d", 2)
    span.end(5)

    assert not span.is_recording()
    assert (dict(span.attributes), span.end_time) == ({"c": 1, "d": 2}, 5)
