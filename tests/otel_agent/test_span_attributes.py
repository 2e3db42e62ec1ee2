"""Spans share their attributes until one of them changes its own."""

import pytest
from opentelemetry.sdk.trace import SpanLimits, TracerProvider

from otel_agent import lean_spans
from otel_agent.attribute_values import CleanAttributes
from otel_agent.span_attributes import SpanAttributes
from otel_agent.span_processors import ListeningProcessors

CHANGES = {
    "set_attribute": lambda span: span.set_attribute("a", 9),
    "set_attribute of a list": lambda span: span.set_attribute("a", [9]),
    "set_attributes": lambda span: span.set_attributes({"a": 9, "b": 9}),
    "by a processor": lambda span: span._attributes.update({"a": 9}),
    "deleted by a processor": lambda span: span._attributes.__delitem__("a"),
    "cleared by a processor": lambda span: span._attributes.clear(),
}


def start(attributes, **limits):
    """Start a span as the agent does."""
    provider = TracerProvider(active_span_processor=ListeningProcessors(), span_limits=SpanLimits(**limits))
    return lean_spans.start_span(provider.get_tracer("a"), "b", attributes=attributes)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_that_of_one_span(change):
    """Whatever way a span is changed, those of which it has its attributes keep theirs."""
    shared = CleanAttributes(a=1, c=2)
    changed, other = start(shared), start(shared)
    assert type(changed._attributes) is not SpanAttributes  # but a class of its own, with its limits
    assert changed._attributes._dict is other._attributes._dict is shared

    change(changed)

    assert dict(changed.attributes) != {"a": 1, "c": 2}
    assert dict(other.attributes) == dict(shared) == {"a": 1, "c": 2}


def test_an_ended_span_cannot_be_changed():
    """Then it is refused, and nothing is copied for it."""
    span = start(CleanAttributes(a=1))
    span.end()
    for change in (span._attributes.__delitem__, lambda key: span._attributes.__setitem__(key, 2)):
        with pytest.raises(TypeError, match="immutable"):
            change("a")

    assert dict(span.attributes) == {"a": 1}


@pytest.mark.parametrize(
    ("limits", "count", "has_room"),
    [
        ({"max_span_attributes": 3}, 1, True),
        ({"max_span_attributes": 3}, 2, False),
        ({"max_span_attribute_length": 5}, 0, False),
        ({"max_attributes": None, "max_span_attributes": SpanLimits.UNSET}, 1_000, True),
    ],
)
def test_room_is_what_the_limits_leave(limits, count, has_room):
    """A limit of the number counts what is there; under a limit of the length every value must be looked at."""
    span = start({"a": 1, "b": 2}, **limits)

    assert span._attributes.has_room_for(count) is has_room
