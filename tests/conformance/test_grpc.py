"""OTLP/gRPC, requirement by requirement; the names tell which one of the protocol's specification."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from builders import make_request, make_span
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from apm_store.api import StoreBusyError, StoreError
from apm_store.model import Batch, Signal

MIB = 1024 * 1024
BODY = make_request([make_span("op")]).SerializeToString()
COMPRESSIONS = [grpc.Compression.NoCompression, grpc.Compression.Gzip]
RETRYABLE = {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}


def _metrics(*, good: int, bad: int = 0) -> bytes:
    request = ExportMetricsServiceRequest()
    points = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m").gauge.data_points
    for number in range(good):
        points.add(as_int=number, time_unix_nano=9 + number)
    for _ in range(bad):
        points.add(time_unix_nano=9)
    return request.SerializeToString()


def _logs() -> bytes:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=9)
    return request.SerializeToString()


GOOD = {Signal.TRACES: BODY, Signal.METRICS: _metrics(good=1), Signal.LOGS: _logs()}


class _FailingStore:
    """A store whose writes fail."""

    def __init__(self, error: Exception) -> None:
        self.traces = self.metrics = self.logs = self
        self.error = error

    def write(self, batch: Batch) -> None:
        raise self.error


def _details(error: grpc.RpcError) -> list[Any]:
    """The details of the Status of a failed call."""
    values = [value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"]
    return [detail for value in values for detail in status_pb2.Status.FromString(value).details]


def _asks_for_retry(error: grpc.RpcError) -> bool:
    has_hint = any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in _details(error))
    return error.code().name in RETRYABLE or (error.code().name == "RESOURCE_EXHAUSTED" and has_hint)


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_o01_grpc_takes_gzip_and_none(signal: Signal, compression: grpc.Compression, live: Any) -> None:
    """Every signal."""
    assert live.call(signal, GOOD[signal], compression) == b""
    assert live.stored() == 1


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_o02_grpc_message_over_limit_is_not_to_be_sent_again(compression: grpc.Compression, small: Any) -> None:
    """RESOURCE_EXHAUSTED without RetryInfo, also after decompression."""
    with pytest.raises(grpc.RpcError) as raised:
        small.call(Signal.TRACES, make_request([make_span("x" * MIB)]).SerializeToString(), compression)

    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not _asks_for_retry(raised.value)
    assert small.stored() == 0


def test_o02_grpc_limit_itself_is_taken(small: Any) -> None:
    """One mebibyte of one mebibyte."""
    overhead = len(make_request([make_span("x" * 1_000_000)]).SerializeToString()) - 1_000_000
    body = make_request([make_span("x" * (MIB - overhead))]).SerializeToString()

    assert len(body) == MIB
    assert small.call(Signal.TRACES, body) == b""


def test_o02_grpc_too_many_items_are_not_to_be_sent_again(live: Any) -> None:
    """The item limit answers like the size limit."""
    with pytest.raises(grpc.RpcError) as raised:
        live.call(Signal.TRACES, b"\x0a\xa6\x8d\x06\x12\xa2\x8d\x06" + b"\x12\x00" * 50_001)

    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not _asks_for_retry(raised.value)


@pytest.mark.parametrize("signal", list(Signal))
def test_o05_grpc_empty_request_succeeds(signal: Signal, live: Any) -> None:
    """OK, and partial_success unset."""
    assert live.call(signal, b"") == b""


def test_o06_grpc_full_success_leaves_partial_success_unset(live: Any) -> None:
    """The response is empty."""
    response = ExportTraceServiceResponse.FromString(live.call(Signal.TRACES, BODY))

    assert not response.HasField("partial_success")


def test_o07_grpc_rejected_items_are_counted_with_the_cause(live: Any) -> None:
    """OK, partial_success, and the good points are stored."""
    response = ExportMetricsServiceResponse.FromString(live.call(Signal.METRICS, _metrics(good=2, bad=3)))

    assert response.partial_success.rejected_data_points == 3
    assert response.partial_success.error_message == "3 data points rejected: the data point has no value"
    assert live.stored() == 2


def test_o07_grpc_a_remark_rejects_nothing(live: Any) -> None:
    """A warning has rejected 0 and a message."""
    span = make_span("op")
    span.parent_span_id = b"short"

    response = ExportTraceServiceResponse.FromString(live.call(Signal.TRACES, make_request([span]).SerializeToString()))

    assert response.partial_success.rejected_spans == 0
    assert "parent span id is 5 bytes" in response.partial_success.error_message
    assert live.stored() == 1


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("body", [b"<html>", b"\xff" * 50, b"\x0b" * 100_000])
def test_o08_grpc_undecodable_is_invalid_argument_with_bad_request(signal: Signal, body: bytes, live: Any) -> None:
    """Not to be sent again."""
    with pytest.raises(grpc.RpcError) as raised:
        live.call(signal, body)

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [detail.Is(error_details_pb2.BadRequest.DESCRIPTOR) for detail in _details(raised.value)] == [True]
    assert not _asks_for_retry(raised.value)


@pytest.mark.parametrize(
    ("error", "delay_s"), [(StoreBusyError(), 1), (StoreError("disk"), 5), (RuntimeError("a mistake"), 5)]
)
def test_o09_grpc_overload_is_unavailable_with_a_retry_hint(
    error: Exception, delay_s: int, start: Callable[..., Any]
) -> None:
    """RetryInfo tells the delay; a mistake of the collector is no loss either."""
    with pytest.raises(grpc.RpcError) as raised:
        start(_FailingStore(error)).call(Signal.TRACES, BODY)

    info = error_details_pb2.RetryInfo()
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert _details(raised.value)[0].Unpack(info)
    assert info.retry_delay.seconds == delay_s


@pytest.mark.parametrize(
    "method",
    [
        "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Other",
        "/some.Service/Export",
    ],
)
def test_o15_grpc_other_services_are_unimplemented(method: str, live: Any) -> None:
    """Profiles among them."""
    with pytest.raises(grpc.RpcError) as raised:
        live.call(Signal.TRACES, b"", method=method)

    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_o01_grpc_takes_deflate_too(live: Any) -> None:
    """The library offers it to every client."""
    assert live.call(Signal.TRACES, BODY, grpc.Compression.Deflate) == b""
    assert live.stored() == 1


def test_o09_grpc_unknown_compression_is_not_to_be_sent_again(live: Any) -> None:
    """INTERNAL (13), which no sender retries: gRPC's own parser of headers says it before any code of ours is asked.

    Its specification wants UNIMPLEMENTED; no option of the library leads there for a name that it does not know.
    """
    endpoint = live.collector.endpoints["otlp/grpc"]
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
        "grpc-encoding": "snappy",
    }
    block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers.items())
    message = b"\x01" + len(BODY).to_bytes(4, "big") + BODY
    with socket.create_connection((endpoint.host, endpoint.port), timeout=10) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b""))
        connection.sendall(_frame(1, 4, 1, block) + _frame(0, 1, 1, message))
        answer = b""
        while b"grpc-status" not in answer:
            answer += connection.recv(65536)

    assert answer.partition(b"grpc-status")[2].startswith(b"\x0213")
    assert live.stored() == 0


def _text(text: str) -> bytes:
    """A string of an HTTP/2 header block."""
    return bytes([len(text)]) + text.encode()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def test_grpc_a_deadline_that_is_over_leaves_all_or_nothing(live: Any) -> None:
    """The caller sees DEADLINE_EXCEEDED; the request is stored whole or not at all."""
    spans = [make_span("op", span=number) for number in range(1, 201)]
    address = str(live.collector.endpoints["otlp/grpc"])
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        with pytest.raises(grpc.RpcError) as raised:
            call(make_request(spans).SerializeToString(), timeout=0.0)

    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert live.call(Signal.TRACES, BODY) == b""
    assert live.stored() in (1, 200)


def test_grpc_http1_on_its_port_is_closed(live: Any) -> None:
    """Another protocol harms nobody else."""
    endpoint = live.collector.endpoints["otlp/grpc"]
    with socket.create_connection((endpoint.host, endpoint.port), timeout=10) as connection:
        connection.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while connection.recv(1000):
            pass

    assert live.call(Signal.TRACES, BODY) == b""


def test_o09_grpc_without_the_token_is_unauthenticated(start: Callable[..., Any], store: Any) -> None:
    """Not to be sent again; with the token in the metadata the request is taken."""
    live = start(store, check_token=lambda token, _peer: "ok" if token == "right" else "wrong")
    address = str(live.collector.endpoints["otlp/grpc"])

    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        with pytest.raises(grpc.RpcError) as raised:
            call(BODY, timeout=10)
        answer = call(BODY, timeout=10, metadata=(("authorization", "Bearer right"),))

    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert not _asks_for_retry(raised.value)
    assert answer == b""
    assert live.stored() == 1
