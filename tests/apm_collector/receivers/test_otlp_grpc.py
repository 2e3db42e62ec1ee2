"""OTLP/gRPC on a real socket: services, limits, compression, and what is answered when the store fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest
from builders import make_request, make_span
from google.rpc import code_pb2, error_details_pb2, status_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from apm_collector.config import CollectorConfig
from apm_store.api import Store, StoreBusyError
from apm_store.model import Batch, Signal

BODY = make_request([make_span("op")]).SerializeToString()


class _BusyStore:
    """A store that has no room."""

    def __init__(self) -> None:
        self.traces = self.metrics = self.logs = self

    def write(self, batch: Batch) -> None:
        raise StoreBusyError


def _details(error: grpc.RpcError) -> status_pb2.Status | None:
    """The Status in the trailing metadata of a failed call."""
    found = [value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"]
    return status_pb2.Status.FromString(found[0]) if found else None


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_request_is_stored_and_answered_empty(compression: grpc.Compression, live: Any) -> None:
    """Plain and gzip; full success leaves partial_success unset."""
    assert live.export(Signal.TRACES, BODY, compression) == b""
    assert live.store.stats().spans == 1


def test_rejected_items_are_told_in_partial_success(live: Any) -> None:
    """The call succeeds; the good items are stored."""
    body = make_request([make_span("good"), make_span("bad", span=0)]).SerializeToString()

    response: Any = ExportTraceServiceResponse.FromString(live.export(Signal.TRACES, body))

    assert response.partial_success.rejected_spans == 1
    assert response.partial_success.error_message == "1 span rejected: span id is all zero"
    assert live.store.stats().spans == 1


@pytest.mark.parametrize("signal", list(Signal))
def test_what_cannot_be_decoded_is_an_invalid_argument(signal: Signal, live: Any) -> None:
    """The details hold the same Status; nothing asks for a retry."""
    with pytest.raises(grpc.RpcError) as raised:
        live.export(signal, b"<html>")

    status = _details(raised.value)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert status is not None
    assert status.code == code_pb2.INVALID_ARGUMENT
    assert [detail.Is(error_details_pb2.BadRequest.DESCRIPTOR) for detail in status.details] == [True]
    assert live.collector.counts()[signal.value]["refused_requests"] == {"undecodable": 1}


def test_a_busy_store_asks_the_sender_to_try_again(start: Callable[..., Any]) -> None:
    """UNAVAILABLE carries RetryInfo."""
    with pytest.raises(grpc.RpcError) as raised:
        start(_BusyStore()).export(Signal.TRACES, BODY)

    status, info = _details(raised.value), error_details_pb2.RetryInfo()
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert status is not None
    assert status.details[0].Unpack(info)
    assert info.retry_delay.seconds == 1


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_over_the_limit_is_not_to_be_sent_again(
    compression: grpc.Compression, start: Callable[..., Any], store: Store, config: CollectorConfig
) -> None:
    """RESOURCE_EXHAUSTED without RetryInfo, also when the message is small before decompression."""
    otlp = config.receivers["otlp"]
    assert otlp.grpc is not None
    small = replace(config, receivers={"otlp": replace(otlp, grpc=replace(otlp.grpc, max_request_bytes=1024 * 1024))})
    live = start(store, small)
    body = make_request([make_span("x" * 2_000_000)]).SerializeToString()

    with pytest.raises(grpc.RpcError) as raised:
        live.export(Signal.TRACES, body, compression)

    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert _details(raised.value) is None
    assert live.export(Signal.TRACES, BODY) == b""


def test_too_many_items_are_not_to_be_sent_again(live: Any) -> None:
    """The item limit answers like the size limit."""
    inner = b"\x12\x00" * 50_001
    scope = b"\x12" + _varint(len(inner)) + inner
    body = b"\x0a" + _varint(len(scope)) + scope

    with pytest.raises(grpc.RpcError) as raised:
        live.export(Signal.TRACES, body)

    status = _details(raised.value)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert status is not None
    assert not status.details


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


@pytest.mark.parametrize(
    "method",
    [
        "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Import",
        "/x/y",
    ],
)
def test_unknown_services_and_methods_are_unimplemented(method: str, live: Any) -> None:
    """A sender learns that it need not try again."""
    address = str(live.collector.endpoints["otlp/grpc"])
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(method)(BODY, timeout=10)

    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
