"""OTLP/HTTP, requirement by requirement; the names tell which one of the protocol's specification."""

from __future__ import annotations

import gzip
import http.client
import socket
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from builders import make_request, make_span
from google.rpc import code_pb2, error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from apm_collector.config import CorsConfig
from apm_collector.receivers import otlp_http
from apm_store.api import StoreBusyError, StoreError
from apm_store.model import Batch, Signal

MIB = 1024 * 1024
SPAN_JSON = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"%s","spanId":"%s","name":"op"}]}]}]}'
METRIC = {"name": "m", "gauge": {"dataPoints": [{"asInt": "1", "timeUnixNano": "9"}]}}
GOOD_JSON = {
    Signal.TRACES: SPAN_JSON % (b"ab" * 16, b"cd" * 8),
    Signal.METRICS: orjson.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [METRIC]}]}]}),
    Signal.LOGS: b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"9"}]}]}]}',
}


def _metrics() -> bytes:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    metric.gauge.data_points.add(as_int=1, time_unix_nano=9)
    return request.SerializeToString()


def _logs() -> bytes:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=9)
    return request.SerializeToString()


GOOD = {
    Signal.TRACES: make_request([make_span("op")]).SerializeToString(),
    Signal.METRICS: _metrics(),
    Signal.LOGS: _logs(),
}
RESPONSES: dict[Signal, Any] = {
    Signal.TRACES: ExportTraceServiceResponse,
    Signal.METRICS: ExportMetricsServiceResponse,
    Signal.LOGS: ExportLogsServiceResponse,
}


def _body(signal: Signal, encoding: str) -> bytes:
    return (GOOD if encoding == "protobuf" else GOOD_JSON)[signal]


class _FailingStore:
    """A store whose writes fail."""

    def __init__(self, error: Exception) -> None:
        self.traces = self.metrics = self.logs = self
        self.error = error

    def write(self, batch: Batch) -> None:
        raise self.error


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("encoding", ["protobuf", "json"])
@pytest.mark.parametrize("compression", ["", "gzip"])
def test_o01_http_takes_gzip_and_none(signal: Signal, encoding: str, compression: str, live: Any) -> None:
    """Every signal, in both encodings."""
    body = _body(signal, encoding)
    headers = {"Content_Encoding": compression} if compression else {}

    reply = live.post(signal, gzip.compress(body) if compression else body, encoding, **headers)

    assert reply.status == 200
    assert live.stored() == 1


@pytest.mark.parametrize("spelling", ["identity", "GZIP", " gzip "])
def test_o01_http_content_encoding_is_read_leniently(spelling: str, live: Any) -> None:
    """In any case, and `identity` is none."""
    body = GOOD[Signal.TRACES]

    reply = live.post(
        Signal.TRACES, body if spelling == "identity" else gzip.compress(body), **{"Content-Encoding": spelling}
    )

    assert reply.status == 200
    assert live.stored() == 1


def test_o01_http_gzip_of_several_members_counts_whole(live: Any) -> None:
    """Protobuf bodies join by standing one behind the other, and so do gzip members."""
    other = make_request([make_span("other", span=2)]).SerializeToString()

    reply = live.post(Signal.TRACES, gzip.compress(GOOD[Signal.TRACES]) + gzip.compress(other), Content_Encoding="gzip")

    assert reply.status == 200
    assert live.stored() == 2


@pytest.mark.parametrize("is_gzip", [False, True])
@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_o03_http_body_over_limit_is_413(encoding: str, is_gzip: bool, small: Any) -> None:
    """Also after decompression; the Status is in the request's encoding and nothing is stored."""
    body = _body(Signal.TRACES, encoding) + b" " * MIB
    headers = {"Content_Encoding": "gzip"} if is_gzip else {}

    reply = small.post(Signal.TRACES, gzip.compress(body) if is_gzip else body, encoding, **headers)

    assert reply.status == 413
    assert reply.rpc_status.code == code_pb2.RESOURCE_EXHAUSTED
    assert small.stored() == 0


def test_o03_http_chunked_body_over_limit_is_413(small: Any) -> None:
    """Without a Content-Length the limit holds while reading."""
    chunks = iter([b"x" * 65536] * 17)

    reply = small.request("POST", "/v1/traces", chunks, {"Content-Type": "application/x-protobuf"})

    assert reply.status == 413


def test_o03_http_declared_length_over_limit_is_413_before_the_body(small: Any) -> None:
    """The sender need not send the body to learn that it is too large."""
    answer = small.talk(
        b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"
        b"Content-Length: 2000000\r\n\r\n"
    )

    assert answer.startswith(b"HTTP/1.1 413")


def test_o03_http_limit_itself_is_taken(small: Any) -> None:
    """One mebibyte of one mebibyte."""
    body = GOOD_JSON[Signal.TRACES]

    assert small.post(Signal.TRACES, body.ljust(MIB), "json").status == 200
    assert small.post(Signal.TRACES, body.ljust(MIB + 1), "json").status == 413


def test_o03_http_too_many_items_are_413(live: Any) -> None:
    """Spans are counted, not only bytes."""
    inner = b"\x12\x00" * 50_001
    scope = b"\x12\xa2\x8d\x06" + inner

    reply = live.post(Signal.TRACES, b"\x0a\xa6\x8d\x06" + scope)

    assert reply.status == 413
    assert "50,000" in reply.rpc_status.message


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_o04_http_response_stays_short(encoding: str, live: Any) -> None:
    """Ten thousand different faults are told in a few lines."""
    spans = [make_span("x", span=0) for _ in range(5_000)]
    for number, span in enumerate(spans):
        span.trace_id = b"\x01" * (number % 400 + 17)
    request = make_request(spans)
    body = request.SerializeToString()
    if encoding == "json":
        rows = [b'{"traceId":"%s"}' % span.trace_id.hex().encode() for span in spans]
        body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}' % b",".join(rows)

    reply = live.post(Signal.TRACES, body, encoding)

    assert reply.status == 200
    assert 100 < len(reply.body) < 1_200


def test_o04_http_error_stays_short(live: Any) -> None:
    """What the sender wrote is quoted in part only."""
    reply = live.post(Signal.TRACES, b'{"resourceSpans":"%s"}' % (b"x" * 100_000), "json")

    assert reply.status == 400
    assert len(reply.body) < 4_000


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize(("encoding", "body"), [("protobuf", b""), ("json", b"{}")])
def test_o05_http_empty_request_succeeds(signal: Signal, encoding: str, body: bytes, live: Any) -> None:
    """No telemetry is no fault."""
    reply = live.post(signal, body, encoding)

    assert (reply.status, reply.body) == (200, body)


@pytest.mark.parametrize("body", [b"\x0a\x00", b"\x0a\x02\x12\x00", b"\x0a\x00\x0a\x00"])
def test_o05_http_empty_envelopes_are_ignored(body: bytes, live: Any) -> None:
    """Resources without scopes, scopes without spans."""
    assert live.post(Signal.TRACES, body).status == 200
    assert live.stored() == 0


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_o06_http_full_success_leaves_partial_success_unset(signal: Signal, encoding: str, live: Any) -> None:
    """200 with an empty Export response."""
    reply = live.post(signal, _body(signal, encoding), encoding)

    assert reply.status == 200
    assert reply.body == (b"" if encoding == "protobuf" else b"{}")


def _rejected_metrics() -> bytes:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    metric.gauge.data_points.add(as_int=1, time_unix_nano=9)
    metric.gauge.data_points.add(time_unix_nano=9)
    return request.SerializeToString()


def test_o07_http_rejected_spans_are_counted_with_the_cause(live: Any) -> None:
    """200, partial_success, and the good span is stored."""
    reply = live.post(
        Signal.TRACES, make_request([make_span("a"), make_span("b", span=2, trace=0)]).SerializeToString()
    )

    partial = ExportTraceServiceResponse.FromString(reply.body).partial_success
    assert (reply.status, partial.rejected_spans) == (200, 1)
    assert partial.error_message == "1 span rejected: trace id is all zero"
    assert live.stored() == 1


def test_o07_http_rejected_data_points_are_counted_with_the_cause(live: Any) -> None:
    """200, partial_success, and the good point is stored."""
    reply = live.post(Signal.METRICS, _rejected_metrics())

    partial = ExportMetricsServiceResponse.FromString(reply.body).partial_success
    assert (reply.status, partial.rejected_data_points) == (200, 1)
    assert partial.error_message == "1 data point rejected: the data point has no value"
    assert live.stored() == 1


def test_o07_http_json_partial_success_has_json_names(live: Any) -> None:
    """Counts are decimal strings there, as all 64-bit integers."""
    body = GOOD_JSON[Signal.TRACES].replace(b"cd" * 8, b"00" * 8)

    reply = live.post(Signal.TRACES, body, "json")

    assert orjson.loads(reply.body) == {
        "partialSuccess": {"rejectedSpans": "1", "errorMessage": "1 span rejected: span id is all zero"}
    }


def test_o07_http_a_remark_rejects_nothing(live: Any) -> None:
    """A log record with a broken link is stored; the warning has rejected 0 and a message."""
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(trace_id=b"short", time_unix_nano=9)

    partial = ExportLogsServiceResponse.FromString(
        live.post(Signal.LOGS, request.SerializeToString()).body
    ).partial_success

    assert partial.rejected_log_records == 0
    assert "trace id is 5 bytes" in partial.error_message
    assert live.stored() == 1


def test_o07_one_bad_byte_costs_nobody_and_is_marked(live: Any) -> None:
    """511 neighbours are stored as sent, the text at fault with U+FFFD, and a remark tells the sender."""
    spans = [make_span(f"name {number}", span=number + 1) for number in range(512)]
    body = make_request(spans).SerializeToString().replace(b"name 77", b"name\xe977")

    reply = live.post(Signal.TRACES, body)

    partial = ExportTraceServiceResponse.FromString(reply.body).partial_success
    assert (partial.rejected_spans, partial.error_message) == (0, "texts repaired that were not UTF-8 (1)")
    names = {span.name for span in live.store.traces.get(spans[0].trace_id.hex())}
    assert names == {f"name {number}" for number in range(512)} - {"name 77"} | {"name\ufffd77"}


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_o10_http_undecodable_is_400_with_bad_request_details(signal: Signal, encoding: str, live: Any) -> None:
    """Not to be sent again; the details hold a BadRequest."""
    reply = live.post(signal, b"<html>", encoding)

    assert reply.status == 400
    assert reply.rpc_status.code == code_pb2.INVALID_ARGUMENT
    if encoding == "protobuf":
        assert reply.rpc_status.details[0].Is(error_details_pb2.BadRequest.DESCRIPTOR)
    else:
        assert orjson.loads(reply.body)["details"][0]["@type"].endswith("google.rpc.BadRequest")


@pytest.mark.parametrize(
    "data",
    [b"plain", b"", gzip.compress(b"x" * 1000)[:-9], gzip.compress(b"x")[:-8] + bytes(8)],
    ids=["plain", "empty", "cut off", "wrong checksum"],
)
def test_o10_http_gzip_that_is_none_is_400(data: bytes, live: Any) -> None:
    """Plain, empty, cut off, wrong checksum."""
    reply = live.post(Signal.TRACES, data, Content_Encoding="gzip")

    assert reply.status == 400
    assert reply.rpc_status.message.startswith("gzip: ")


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/v1/traces", {"Content-Encoding": "br"}, 415),
        ("POST", "/nope", {}, 404),
        ("PUT", "/v1/traces", {}, 405),
        ("POST", "/v1/traces", {"Origin": "http://evil.example"}, 403),
        ("POST", "/v1/traces", {"Host": "evil.example"}, 400),
        ("POST", "/v1/traces", {"X-Long": "x" * 17_000}, 431),
    ],
)
def test_o11_http_every_4xx_is_a_status_in_the_request_encoding(
    encoding: str, method: str, path: str, headers: dict[str, str], status: int, live: Any
) -> None:
    """With a code and a message."""
    content_type = {"protobuf": "application/x-protobuf", "json": "application/json"}[encoding]

    reply = live.request(method, path, b"", {"Content-Type": content_type, **headers})

    assert reply.status == status
    assert reply.headers["content-type"] == content_type
    assert reply.rpc_status.code
    assert reply.rpc_status.message


@pytest.mark.parametrize(
    "head",
    [
        b"GARBAGE\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"GET /" + b"x" * 40_000,
    ],
)
def test_o11_http_what_is_no_http_gets_a_status_too(head: bytes, live: Any) -> None:
    """JSON, as no encoding is known, on a connection that is closed."""
    answer = live.talk(head)

    top, _, body = answer.partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 400")
    assert b"content-type: application/json" in top
    assert orjson.loads(body.partition(b"HTTP/1.1")[0])["code"] == code_pb2.INVALID_ARGUMENT


def test_o11_http_a_body_that_breaks_off_in_bad_chunks_gets_a_status(live: Any) -> None:
    """The fault comes while the body is being read."""
    head = b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"

    answer = live.talk(head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n")

    assert answer.startswith(b"HTTP/1.1 400")
    assert orjson.loads(answer.partition(b"\r\n\r\n")[2])["message"]
    assert live.stored() == 0


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
@pytest.mark.parametrize(
    ("error", "delay"), [(StoreBusyError(), "1"), (StoreError("disk"), "5"), (RuntimeError("a mistake"), "5")]
)
def test_o12_http_overload_is_503_with_a_retry_hint(
    error: Exception, delay: str, encoding: str, start: Callable[..., Any]
) -> None:
    """Retry-After in seconds, and RetryInfo in the Status; for a mistake of the collector too, as a 500 loses data."""
    reply = start(_FailingStore(error)).post(Signal.TRACES, _body(Signal.TRACES, encoding), encoding)

    assert (reply.status, reply.headers["retry-after"]) == (503, delay)
    if encoding == "json":
        assert orjson.loads(reply.body)["details"][0]["retryDelay"] == f"{delay}s"
    else:
        assert status_pb2.Status.FromString(reply.body).details[0].Is(error_details_pb2.RetryInfo.DESCRIPTOR)


@pytest.mark.parametrize("body", [b"<html>", b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"\x0b" * 100_000])
def test_o13_http_bad_data_is_never_a_status_to_retry(body: bytes, live: Any) -> None:
    """Neither 429 nor 5xx."""
    for signal in Signal:
        for encoding in ("protobuf", "json"):
            assert live.post(signal, body, encoding).status == 400


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json;x=y"]
)
def test_o14_http_content_type_is_read_leniently(content_type: str, live: Any) -> None:
    """Parameters and case do not matter; the answer has the bare type."""
    reply = live.request("POST", "/v1/traces", GOOD_JSON[Signal.TRACES], {"Content-Type": content_type})

    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")


def test_o14_http_both_encodings_share_one_connection(live: Any) -> None:
    """The Content-Type of each request decides, and that of the answer equals it."""
    endpoint = live.collector.endpoints["otlp/http"]
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=10)
    types = []
    for encoding in ("json", "protobuf", "json"):
        content_type = {"protobuf": "application/x-protobuf", "json": "application/json"}[encoding]
        connection.request("POST", "/v1/traces", _body(Signal.TRACES, encoding), {"Content-Type": content_type})
        response = connection.getresponse()
        types.append((response.status, response.getheader("Content-Type")))
        response.read()
    connection.close()

    assert types == [(200, "application/json"), (200, "application/x-protobuf"), (200, "application/json")]


@pytest.mark.parametrize("content_type", ["", "text/plain", "multipart/form-data", "application/protobuf"])
def test_o14_http_other_content_types_are_415(content_type: str, live: Any) -> None:
    """None of what a web form can send is taken."""
    headers = {"Content-Type": content_type} if content_type else {}

    assert live.request("POST", "/v1/traces", GOOD[Signal.TRACES], headers).status == 415
    assert live.stored() == 0


@pytest.mark.parametrize("signal", list(Signal))
def test_o15_http_default_paths(signal: Signal, live: Any) -> None:
    """POST /v1/<signal>, nothing behind it."""
    headers = {"Content-Type": "application/x-protobuf"}

    assert live.request("POST", f"/v1/{signal.value}", b"", headers).status == 200
    assert live.request("POST", f"/v1/{signal.value}/", b"", headers).status == 404
    assert live.request("GET", f"/v1/{signal.value}", b"", headers).headers["allow"] == "POST"


def test_o15_http_profiles_are_404(live: Any) -> None:
    """The signal in development is not taken, and the answer names those that are."""
    reply = live.request("POST", "/v1development/profiles", b"", {"Content-Type": "application/x-protobuf"})

    assert (reply.status, reply.rpc_status.code) == (404, code_pb2.NOT_FOUND)
    assert "/v1/traces" in reply.rpc_status.message


@pytest.mark.parametrize("accept", ["", "gzip", "gzip, deflate, br"])
def test_o17_http_response_is_never_compressed(accept: str, live: Any) -> None:
    """It is short, and a sender that did not ask need not decompress."""
    reply = live.post(Signal.TRACES, GOOD[Signal.TRACES], **({"Accept_Encoding": accept} if accept else {}))

    assert reply.status == 200
    assert "content-encoding" not in reply.headers


def test_http_expect_100_continue_is_answered_once(live: Any) -> None:
    """One 100, then the answer."""
    body = GOOD[Signal.TRACES]
    head = b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"

    endpoint = live.collector.endpoints["otlp/http"]
    with socket.create_connection((endpoint.host, endpoint.port), timeout=10) as connection:
        connection.sendall(head + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(body))
        first = connection.recv(1000)
        connection.sendall(body)
        second = connection.recv(1000)

    assert first.startswith(b"HTTP/1.1 100")
    assert first.count(b"HTTP/1.1") == 1
    assert second.startswith(b"HTTP/1.1 200")


def test_http_10_is_served(live: Any) -> None:
    """Without keep-alive."""
    body = GOOD[Signal.TRACES]
    head = b"POST /v1/traces HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"

    answer = live.talk(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    assert answer.split(b" ", 2)[1] == b"200"
    assert live.stored() == 1


def test_http_body_that_never_ends_is_408_and_stores_nothing(live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a body is no request."""
    monkeypatch.setattr(otlp_http, "_BODY_TIMEOUT_S", 0.1)
    head = b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"

    answer = live.talk(head + b"Content-Length: 5000\r\n\r\n" + GOOD[Signal.TRACES])

    assert answer.startswith(b"HTTP/1.1 408")
    assert live.stored() == 0


def test_http_length_and_chunks_together_are_refused(live: Any) -> None:
    """Two servers could read such a request as two different ones."""
    head = b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"

    answer = live.talk(head + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"connection: close" in answer


def test_http_pipelined_requests_are_answered_in_order(live: Any) -> None:
    """Two in one packet get two answers."""
    body = GOOD[Signal.TRACES]
    head = b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"
    one = head + b"Content-Length: %d\r\n\r\n" % len(body) + body

    answer = live.talk(one + one.replace(b"traces", b"nopes"))

    assert answer.index(b"HTTP/1.1 200") < answer.index(b"HTTP/1.1 404")


def test_http_many_headers_are_refused(live: Any) -> None:
    """A thousand headers are more than 16 KiB."""
    reply = live.post(Signal.TRACES, b"", **{f"X-{number}": "some value" for number in range(99)}, X_Y="z" * 16_000)

    assert reply.status == 431


def test_http_spans_sent_to_metrics_store_nothing(live: Any) -> None:
    """The wrong signal is never stored as another."""
    reply = live.post(Signal.METRICS, GOOD[Signal.TRACES])

    assert reply.status in (200, 400)
    assert live.stored() == 0


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}


def test_cors_is_off_unless_configured(live: Any) -> None:
    """A preflight is 405 as any other method, and no CORS header is given."""
    reply = live.request("OPTIONS", "/v1/traces", b"", {"Origin": "http://localhost:3000", **PREFLIGHT})

    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert not [name for name in reply.headers if name.startswith("access-control")]


@pytest.fixture
def open_to_shop(start: Callable[..., Any], store: Any) -> Any:
    """A collector that takes telemetry of the pages of one origin."""
    return start(store, http={"cors": CorsConfig(("https://*.shop.example",), ("X-Tenant",), 600)})


def test_cors_preflight_of_an_allowed_origin_is_answered(open_to_shop: Any) -> None:
    """204 with the origin, the method and the headers."""
    headers = {"Origin": "https://www.shop.example", **PREFLIGHT}

    reply = open_to_shop.request("OPTIONS", "/v1/traces", b"", headers)

    assert reply.status == 204
    assert reply.headers["access-control-allow-origin"] == "https://www.shop.example"
    assert reply.headers["access-control-allow-methods"] == "POST"
    assert "X-Tenant" in reply.headers["access-control-allow-headers"]
    assert reply.headers["access-control-max-age"] == "600"
    assert "access-control-allow-credentials" not in reply.headers


@pytest.mark.parametrize("body", [GOOD_JSON[Signal.TRACES], b"{"])
def test_cors_answers_of_an_allowed_origin_can_be_read(body: bytes, open_to_shop: Any) -> None:
    """Good ones and refusals."""
    reply = open_to_shop.post(Signal.TRACES, body, "json", Origin="https://www.shop.example")

    assert reply.status == (400 if body == b"{" else 200)
    assert reply.headers["access-control-allow-origin"] == "https://www.shop.example"


@pytest.mark.parametrize("method", ["OPTIONS", "POST"])
def test_cors_other_origins_are_refused(method: str, open_to_shop: Any) -> None:
    """403 without any CORS header; nothing is stored."""
    headers = {"Origin": "https://evil.example", "Content-Type": "application/json", **PREFLIGHT}

    reply = open_to_shop.request(method, "/v1/traces", GOOD_JSON[Signal.TRACES], headers)

    assert reply.status == 403
    assert not [name for name in reply.headers if name.startswith("access-control")]
    assert open_to_shop.stored() == 0


@pytest.fixture
def locked(start: Callable[..., Any], store: Any) -> Any:
    """A collector that asks for the token `right`."""
    return start(store, check_token=lambda token, _peer: "ok" if token == "right" else "wrong")


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", "Basic right", "right"])
def test_without_the_token_every_route_is_401(authorization: str, locked: Any) -> None:
    """The Status says so; nothing is stored, and the body is not waited for."""
    headers = {"Content-Type": "application/json", **({"Authorization": authorization} if authorization else {})}

    replies = [
        locked.request(method, path, GOOD_JSON[Signal.TRACES], headers)
        for method, path in (("POST", "/v1/traces"), ("GET", "/healthz"), ("GET", "/nope"))
    ]

    assert [reply.status for reply in replies] == [401, 401, 401]
    assert replies[0].headers["www-authenticate"] == "Bearer"
    assert replies[0].rpc_status.code == code_pb2.UNAUTHENTICATED
    assert locked.stored() == 0


def test_with_the_token_data_is_taken(locked: Any) -> None:
    """In any case of the scheme's name."""
    assert locked.post(Signal.TRACES, GOOD[Signal.TRACES], Authorization="bearer right").status == 200
    assert locked.stored() == 1
