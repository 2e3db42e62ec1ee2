"""Spans as bytes: the same as the official encoder's."""

from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as official
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from otel_agent.span_encoding import encode_spans

REMOTE = SpanContext(7, 9, True, TraceFlags(1), TraceState([("a", "b"), ("c", "d")]))
ATTRIBUTES: list[dict[str, Any]] = [
    {},
    {"a": "b", "long": "x" * 1000, "text": "ä€😀", "empty": ""},
    {"zero": 0, "one": 1, "below": -1, "large": 2**63 - 1, "small": -(2**63), "yes": True, "no": False},
    {"part": 0.5, "none": None, "bytes": b"\x00\xff", "list": ["a", 1], "map": {"a": {"b": [1.5]}}},
    {"one": True, "two": 1, "three": "1"},
    {str(number): "x" for number in range(200)},
]


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """Return where the spans of `provider` end up."""
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    """Return a provider whose limits are soon reached."""
    limits = SpanLimits(max_span_attributes=100, max_events=2, max_links=2)
    made = TracerProvider(resource=Resource({"service.name": "a", "n": 3}, "https://example.org/1"), span_limits=limits)
    made.add_span_processor(SimpleSpanProcessor(exporter))
    return made


def same(spans: Any) -> bool:
    return bool(ExportTraceServiceRequest.FromString(encode_spans(spans)) == official(spans))


@pytest.mark.parametrize("attributes", ATTRIBUTES, ids=["none", "texts", "numbers", "others", "alike", "many"])
def test_attributes(provider, exporter, attributes):
    """Values of every type, of every length, and more of them than are kept."""
    for _ in range(2):  # the second time from what is known
        provider.get_tracer("a").start_span("b", attributes=attributes).end()

    assert same(exporter.get_finished_spans())


@pytest.mark.parametrize("kind", SpanKind)
def test_kinds_parents_and_states(provider, exporter, kind):
    """Root, child of this process and child of another one, with the trace state it has sent."""
    tracer = provider.get_tracer("a")
    with tracer.start_as_current_span("root", kind=kind):
        tracer.start_span("child", kind=kind).end()
    tracer.start_span("remote", set_span_in_context(NonRecordingSpan(REMOTE)), kind=kind).end()

    assert same(exporter.get_finished_spans())


@pytest.mark.parametrize("status", [Status(StatusCode.OK), Status(StatusCode.ERROR), Status(StatusCode.ERROR, "bad")])
def test_events_links_and_status(provider, exporter, status):
    """What few spans have, and more of it than is kept."""
    span = provider.get_tracer("a").start_span("a" * 300, links=[Link(REMOTE, {"a": 1})] * 3)
    for number in range(3):
        span.add_event("event", {"number": number})
    span.set_status(status)
    span.end()

    assert same(exporter.get_finished_spans())


def test_spans_are_grouped_by_resource_and_scope(provider, exporter):
    """Scopes with version, schema and attributes, in turns; and a span without any."""
    other = TracerProvider(resource=Resource({"service.name": "b"}))
    other.add_span_processor(SimpleSpanProcessor(exporter))
    for name in ("a", "b", "a"):
        for source in (provider, other):
            source.get_tracer(name, "1.0", "https://example.org/2", {"c": 1}).start_span("d").end()
    bare = ReadableSpan("bare", SpanContext(1, 2, False), resource=Resource({}), start_time=1, end_time=2)

    assert same([*exporter.get_finished_spans(), bare])
