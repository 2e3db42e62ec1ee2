"""Inputs that are valid and rare, or wrong and still of use: what becomes of them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable
from typing import Any

import pytest
from builders import SECOND, attribute, make_request, make_span
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from apm_analysis.trace_tree import build_tree
from apm_store.model import Signal
from apm_store.query import LogQuery, MetricQuery, MetricSeriesQuery, SpanAggregate, TimeRange, TraceQuery

ALL_TIME = TimeRange(0, 2**63 - 1)
START_NS = 1_790_000_000 * SECOND
TRACE_ID = f"{1:032x}"


def _send(live: Any, request: Any, signal: Signal = Signal.TRACES) -> None:
    reply = live.post(signal, request.SerializeToString())
    assert (reply.status, reply.body) == (200, b"")


def _found(live: Any, key: str, text: str) -> set[int]:
    """The numbers of the traces that a search by one attribute finds."""
    page = live.store.traces.find(TraceQuery(ALL_TIME, attributes=((key, text),)))
    return {int(trace.trace_id, 16) for trace in page.traces}


def test_a_span_that_comes_again_with_other_content_counts_once(live: Any) -> None:
    """The first one stays, in the trace and in every statistic; the other one is counted as a duplicate."""
    first, second = (make_span("GET /", start_ns=START_NS, duration_ns=SECOND * time) for time in (1, 2))
    _send(live, make_request([first]))
    _send(live, make_request([second]))

    [span] = live.store.traces.get(TRACE_ID)
    [row] = live.store.traces.aggregate(SpanAggregate(ALL_TIME))
    health = live.store.health()

    assert span.end_ns - span.start_ns == SECOND
    assert (row.count, row.duration_sum_ns) == (1, SECOND)
    assert (health.stored["traces"], health.duplicates["traces"]) == (1, 1)


def test_one_span_id_in_two_traces_is_two_spans(live: Any) -> None:
    """A span is known by both of its ids."""
    _send(live, make_request([make_span("a", trace=1, span=5), make_span("b", trace=2, span=5)]))

    assert [len(live.store.traces.get(f"{number:032x}")) for number in (1, 2)] == [1, 1]


@pytest.mark.parametrize("value", [None, AnyValue(), AnyValue(string_value=""), AnyValue(int_value=7)])
def test_who_does_not_name_its_service_is_unknown(value: AnyValue | None, live: Any) -> None:
    """No attribute, an empty one, and one that is no text are the same service."""
    request = make_request([make_span("op")])
    del request.resource_spans[0].resource.attributes[:]
    if value is not None:
        request.resource_spans[0].resource.attributes.append(KeyValue(key="service.name", value=value))
    _send(live, request)

    assert [service.name for service in live.store.traces.services()] == ["unknown_service"]


def test_two_hundred_resources_and_a_thousand_scopes_keep_their_spans(live: Any) -> None:
    """Whether a resource stands in one block or in several; a scope may be missing."""
    request = ExportTraceServiceRequest()
    for number in range(400):
        group = request.resource_spans.add()
        group.resource.attributes.append(attribute("service.name", f"service {number % 200}"))
        group.scope_spans.add().spans.append(make_span("GET /", trace=number + 1, start_ns=START_NS))
    for number in range(1_000):
        scope = group.scope_spans.add(scope={"name": f"scope {number}"})
        scope.spans.append(make_span("step", trace=1_000, span=number + 1, parent=number, start_ns=START_NS, kind=1))
    _send(live, request)

    counts = {service.name for service in live.store.traces.services()}
    scopes = {span.scope.name for span in live.store.traces.get(f"{1_000:032x}")}

    assert counts == {f"service {number}" for number in range(200)}
    assert scopes == {f"scope {number}" for number in range(1_000)}


def test_links_and_several_roots_make_no_parents(live: Any) -> None:
    """A trace of two roots, one of which links to its own child, has two roots."""
    spans = [make_span("one"), make_span("child", span=2, parent=1), make_span("two", span=3)]
    spans[0].links.add(trace_id=spans[1].trace_id, span_id=spans[1].span_id)
    _send(live, make_request(spans))

    tree = build_tree(live.store.traces.get(TRACE_ID))

    assert [(node.span.name, node.depth) for node in tree.nodes] == [("one", 0), ("child", 1), ("two", 0)]


RARE_KEYS = ["", "a.b", "a'b", 'a"b', "a\\b", "$", "[*]", "%", "_", "a b", "ключ", "🎉", "k" * 10_000, "a=b", "nul\0"]


def test_any_key_is_searched_for_literally(live: Any) -> None:
    """Empty, long, and with signs that mean something elsewhere: each finds its own trace alone."""
    spans = [make_span("op", trace=at, attributes={key: "here"}) for at, key in enumerate(RARE_KEYS, 1)]
    _send(live, make_request(spans))

    assert [_found(live, key, "here") for key in RARE_KEYS] == [{at} for at in range(1, len(RARE_KEYS) + 1)]


RARE_TEXTS = [
    "",
    "nul\0inside",
    "nul",
    "%",
    "_",
    "*",
    "a*b",
    "\\",
    "'; DROP TABLE trace; --",
    "\x1b[31m",
    "é",
    "e\u0301",
]


def test_any_text_is_searched_for_literally(live: Any) -> None:
    """Nothing is a pattern, nothing ends at a NUL, and letters are equal that are written alike."""
    spans = [make_span("op", trace=at, attributes={"key": text}) for at, text in enumerate(RARE_TEXTS, 1)]
    _send(live, make_request(spans))

    assert [_found(live, "key", text) for text in RARE_TEXTS] == [{at} for at in range(1, len(RARE_TEXTS) + 1)]


def test_one_key_may_have_values_of_every_type(live: Any) -> None:
    """A search goes by the text of a value, whatever its type."""
    values: list[Any] = [1, "1", 1.5, "true", True, 10**18]
    spans = [make_span("op", trace=at, attributes={"key": value}) for at, value in enumerate(values, 1)]
    _send(live, make_request(spans))

    found = {text: _found(live, "key", text) for text in ("1", "1.5", "true", str(10**18), "2")}

    assert found == {"1": {1, 2}, "1.5": {3}, "true": {4, 5}, str(10**18): {6}, "2": set()}


def _gauge(name: str, values: Iterable[Any], unit: str = "") -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    points = request.resource_metrics.add().scope_metrics.add().metrics.add(name=name, unit=unit).gauge.data_points
    for at, value in enumerate(values):
        field = "as_int" if isinstance(value, int) else "as_double"
        points.add(time_unix_nano=START_NS + at * SECOND, **{field: value})
    return request


def test_a_metric_may_change_between_whole_and_other_numbers(live: Any) -> None:
    """It stays one series."""
    _send(live, _gauge("load", [1, 0.5, 2]), Signal.METRICS)

    page = live.store.metrics.series(MetricSeriesQuery("load", ALL_TIME, SECOND))

    assert [[step.last for step in one.steps] for one in page.series] == [[1.0, 0.5, 2.0]]


def test_a_metric_of_another_unit_is_another_series(live: Any) -> None:
    """Values in seconds and in milliseconds are never drawn as one line."""
    _send(live, _gauge("time", [1.0], "s"), Signal.METRICS)
    _send(live, _gauge("time", [1000.0], "ms"), Signal.METRICS)

    page = live.store.metrics.series(MetricSeriesQuery("time", ALL_TIME, SECOND))

    assert {(one.metric.unit, one.steps[0].last) for one in page.series} == {("s", 1.0), ("ms", 1000.0)}


@pytest.mark.parametrize("name", ["n" * 10_000, "with spaces", "ünïcode 🎉", "a/b", "x'y\"z", "%"])
def test_any_name_of_a_metric_is_kept(name: str, live: Any) -> None:
    """It is listed, and found by it."""
    _send(live, _gauge(name, [1.0]), Signal.METRICS)

    assert live.store.metrics.names() == [name]
    assert len(live.store.metrics.find(MetricQuery(name, ALL_TIME)).metrics) == 1


def test_a_burst_of_one_message_is_counted_line_by_line(live: Any) -> None:
    """A hundred thousand equal lines in ten requests are as many records; equal requests are what comes again."""
    for number in range(10):
        request = ExportLogsServiceRequest()
        records = request.resource_logs.add().scope_logs.add().log_records
        for _ in range(10_000):
            records.add(time_unix_nano=START_NS + number, body={"string_value": "connection refused"})
        _send(live, request, Signal.LOGS)

    assert live.store.stats().log_records == 100_000
    assert len(live.store.logs.find(LogQuery(TimeRange(START_NS, START_NS + 1), limit=20_000))) == 10_000


@pytest.mark.parametrize("path", ["/v1/traces?" + "q" * 8_000, "/" + "p" * 8_000, "/" + "p" * 20_000])
def test_a_long_address_is_no_harm(path: str, live: Any) -> None:
    """It is served, unknown, or too long; the next request is served."""
    reply = live.request("POST", path, b"", {"Content-Type": "application/x-protobuf"})

    assert reply.status in (200, 400, 404, 414, 431)
    assert live.post(Signal.TRACES, b"").status == 200


def test_a_thousand_short_headers_are_refused(live: Any) -> None:
    """They are more than 16 KiB together."""
    assert live.post(Signal.TRACES, b"", **{f"X-{number}": "some value" for number in range(99)}).status == 200
    head = b"".join(b"X-%d: some longer value\r\n" % number for number in range(1_000))

    answer = live.talk(b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n" + head + b"\r\n")

    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))


def test_streams_that_are_reset_at_once_do_not_keep_others_out(live: Any) -> None:
    """Ten thousand gRPC calls that are taken back as soon as they began; another client is served meanwhile."""
    endpoint = live.collector.endpoints["otlp/grpc"]
    body = make_request([make_span("op")]).SerializeToString()
    with socket.create_connection((endpoint.host, endpoint.port), timeout=10) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b""))
        flood = threading.Thread(target=_reset_streams, args=(connection, 10_000))
        flood.start()

        answers = [live.call(Signal.TRACES, body) for _ in range(5)]

        flood.join(30)
    assert answers == [b""] * 5
    assert live.call(Signal.TRACES, body) == b""
    assert live.stored() == 1


def _reset_streams(connection: socket.socket, count: int) -> None:
    """Begin streams and reset them, until the server has had enough."""
    headers = {":method": "POST", ":scheme": "http", ":path": "/x.Y/Z", ":authority": "localhost"}
    block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers.items())
    try:
        for number in range(count):
            stream = 2 * number + 1
            connection.sendall(_frame(1, 4, stream, block) + _frame(3, 0, stream, (8).to_bytes(4, "big")))
    except OSError:
        return


def _text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
