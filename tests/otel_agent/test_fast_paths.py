"""The shorter ways change nothing that is sent."""

import logging
import re
from typing import Any

import pytest
from http_hosts import FASTAPI, FLASK, STARLETTE

from otel_agent import fast_paths

HEADERS = {
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": "x-.*",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE": "x-.*",
}
EXCLUDED = {"OTEL_PYTHON_EXCLUDED_URLS": "items/1,moved,stream", "OTEL_PROPAGATORS": "tracecontext"}
METHODS = {"OTEL_PYTHON_INSTRUMENTATION_HTTP_CAPTURE_ALL_METHODS": "true", "OTEL_TRACES_SAMPLER": "traceidratio"}

SPANS = """
from opentelemetry import metrics, trace
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
tracer = trace.get_tracer("shop", "1.2", schema_url="https://example.org/1")
attributes = {"text": "ä", "whole": -5, "part": 0.5, "yes": True, "": 1}
with tracer.start_as_current_span("outer", attributes=attributes) as outer:
    outer.add_event("sold", {"count": 3})
    outer.set_attribute("list", ["a", "b"])
    outer.set_attribute("map", {"a": [1]})
    outer.set_attribute("long", "x" * 20_000)
    tracer.start_span("inner", kind=SpanKind.PRODUCER, links=[Link(outer.get_span_context(), {"a": 1})]).end()
    outer.set_status(Status(StatusCode.ERROR, "bad"))
many = {str(number): number for number in range(200)}
tracer.start_span("many", attributes=many).end(5_000_000_000)
tracer.start_span("early", start_time=1_000_000_000).end(2_000_000_000)
meter = metrics.get_meter("shop")
counter, level, histogram = meter.create_counter("a"), meter.create_up_down_counter("b"), meter.create_histogram("c")
for attributes in ({"a": 1}, {"a": True}, {"a": 1.0}, {"a": "1"}, None, {}, {"a": 1, "b": 2}, {"b": 2, "a": 1}):
    for _ in range(3):
        counter.add(2, attributes)
        level.add(-1, attributes)
        histogram.record(7, attributes)
counter.add(-1)
histogram.record(-1)
counter.add(float("nan"))
"""


_OWN_FRAME = re.compile(r' *File "[^"]*/(?:opentelemetry|otel_agent)/.*\n(?: .*\n)*?(?=  File|\S)')


def content_of(sink: Any) -> tuple[list[Any], list[Any]]:
    """Return all that spans and metrics say but for ids, clock times and what differs between any two processes."""
    ids = {span.span_id: span.name for _, _, span in sink.spans}
    spans = [
        (
            (scope, resource["service.name"], span.name, span.kind, str(span.status), span.flags, span.trace_state),
            ids.get(span.parent_span_id, span.parent_span_id),
            (sorted(map(str, span.attributes)), span.dropped_attributes_count, len(span.links)),
            [(event.name, sorted(map(_event_attribute, event.attributes))) for event in span.events],
        )
        for resource, scope, span in sink.spans
    ]
    last = {
        metric.name: (scope, metric.unit, metric.WhichOneof("data"), _points(metric))
        for _, scope, metric in sink.metrics
        if not metric.name.startswith(("process.", "system.", "cpython.", "asyncio."))
    }
    return sorted(spans, key=str), sorted(last.items())


def _event_attribute(attribute: Any) -> str:
    """Return name and value; of a stack trace without the frames of what traces."""
    text = attribute.value.string_value
    return f"{attribute.key}: {_OWN_FRAME.sub('', text)}" if attribute.key.endswith("stacktrace") else str(attribute)


def _points(metric: Any) -> list[Any]:
    points = getattr(metric, metric.WhichOneof("data")).data_points
    return sorted(
        (sorted(map(str, point.attributes)), getattr(point, "count", None), getattr(point, "as_int", None))
        for point in points
    )


@pytest.mark.parametrize("host", [FLASK, FASTAPI, STARLETTE, SPANS], ids=["flask", "fastapi", "starlette", "api"])
@pytest.mark.parametrize("variables", [{}, HEADERS, EXCLUDED, METHODS], ids=["", "headers", "excluded", "methods"])
def test_the_same_is_sent_without_them(late_sink, run_host, host, variables):
    """Spans and metrics say the same with the fast paths and without them, and the host prints the same."""
    sinks = [late_sink(0), late_sink(0)]
    outcomes = [
        run_host(
            host,
            OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
            OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=disabled,
            **variables,
        )
        for sink, disabled in zip(sinks, ("event_loop", f"event_loop,{fast_paths.NAME}"), strict=True)
    ]

    quick, plain = map(content_of, sinks)
    assert quick[0] == plain[0]
    assert quick[1] == plain[1]
    assert quick[0] and quick[1]
    assert outcomes[0].out == outcomes[1].out


def test_all_of_them_fit_what_is_installed(run_host):
    """None of them gives way to the long way in this environment."""
    script = "import flask, fastapi\n" + FLASK

    outcome = run_host(script, OTEL_LOG_LEVEL="debug")

    assert "takes the long way" not in outcome.err


def test_what_does_not_fit_is_left_out(monkeypatch, caplog):
    """A version with other parts is no news for the host, and no fault."""
    monkeypatch.setattr(fast_paths, "_MODULES", ("no_such_module",))
    monkeypatch.setattr(fast_paths, "_MODULES_OF_PACKAGES", {})
    monkeypatch.setattr(logging.getLogger("otel_agent"), "propagate", True)

    with caplog.at_level(logging.DEBUG, "otel_agent"):
        fast_paths.take_fast_paths(frozenset())

    assert [record.levelname for record in caplog.records] == ["DEBUG"]
