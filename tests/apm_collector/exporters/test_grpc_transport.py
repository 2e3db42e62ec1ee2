"""Sending one request over gRPC."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from otlp_backends import GrpcBackend, make_config
from stack import free_port

from apm_collector.errors import PermanentError, TransientError
from apm_collector.exporters.grpc_transport import GrpcTransport
from apm_collector.exporters.otlp_outcome import Outcome
from apm_store.model import Signal

Code = grpc.StatusCode
RETRYABLE = [
    Code.CANCELLED,
    Code.DEADLINE_EXCEEDED,
    Code.ABORTED,
    Code.OUT_OF_RANGE,
    Code.UNAVAILABLE,
    Code.DATA_LOSS,
]
FINAL = [code for code in Code if code not in (*RETRYABLE, Code.OK)]


@pytest.fixture
def transport(grpc_backend: GrpcBackend) -> Iterator[GrpcTransport]:
    """A transport to the backend of the test."""
    transport = GrpcTransport(make_config(grpc_backend.endpoint, "grpc"))
    yield transport
    transport.close()


def refuse(code: grpc.StatusCode, delay: Duration | None = None) -> Callable[[Any], bytes]:
    """Answer a call with a code, with RetryInfo when a delay is given."""

    def act(context: Any) -> bytes:
        if delay is not None:
            status = status_pb2.Status(code=code.value[0])
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        return context.abort(code, "not\x1bnow")

    return act


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_request_is_sent_as_otlp_asks(is_compressed: bool, grpc_backend: GrpcBackend) -> None:
    """The signal's Export method, with the configured headers in lower case."""
    transport = GrpcTransport(
        make_config(grpc_backend.endpoint, "grpc", is_compressed=is_compressed, headers={"X-Key": "1"})
    )

    outcome = transport.send(Signal.TRACES, b"body" * 100)
    transport.close()

    assert outcome == Outcome()
    assert grpc_backend.bodies == [b"body" * 100]
    assert grpc_backend.metadata[0]["x-key"] == "1"


@pytest.mark.parametrize("code", RETRYABLE, ids=lambda code: code.name)
def test_these_codes_mean_later(code: Any, transport: GrpcTransport, grpc_backend: GrpcBackend) -> None:
    """They are the ones that OTLP lets a client send again."""
    grpc_backend.script.append(refuse(code))

    with pytest.raises(TransientError, match=rf"{code.name}: not\\x1bnow") as raised:
        transport.send(Signal.TRACES, b"body")

    assert raised.value.retry_after_s == 0


@pytest.mark.parametrize("code", FINAL, ids=lambda code: code.name)
def test_all_other_codes_are_final(code: Any, transport: GrpcTransport, grpc_backend: GrpcBackend) -> None:
    """Among them RESOURCE_EXHAUSTED when it comes without RetryInfo."""
    grpc_backend.script.append(refuse(code))

    with pytest.raises(PermanentError, match=code.name):
        transport.send(Signal.TRACES, b"body")


@pytest.mark.parametrize("code", [Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE], ids=lambda code: code.name)
@pytest.mark.parametrize(
    ("delay", "seconds"), [(Duration(seconds=7), 7), (Duration(nanos=1), 1), (Duration(seconds=-3), 0)]
)
def test_retry_info_is_read(
    code: Any, delay: Duration, seconds: int, transport: GrpcTransport, grpc_backend: GrpcBackend
) -> None:
    """With it RESOURCE_EXHAUSTED means later too; its delay is rounded up."""
    grpc_backend.script.append(refuse(code, delay))

    with pytest.raises(TransientError) as raised:
        transport.send(Signal.TRACES, b"body")

    assert raised.value.retry_after_s == seconds


def test_broken_details_say_nothing(transport: GrpcTransport, grpc_backend: GrpcBackend) -> None:
    """Details that are no Status are passed over."""

    def act(context: Any) -> bytes:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff"),))
        return context.abort(Code.UNAVAILABLE, "later")

    grpc_backend.script.append(act)

    with pytest.raises(TransientError, match="later"):
        transport.send(Signal.TRACES, b"body")


def test_a_partial_success_is_read(transport: GrpcTransport, grpc_backend: GrpcBackend) -> None:
    """The number of rejected items and the reason are given back."""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 3
    response.partial_success.error_message = "bad ids"
    grpc_backend.script.append(lambda _context: response.SerializeToString())

    assert transport.send(Signal.TRACES, b"body") == Outcome(3, "bad ids")


def test_a_huge_response_is_not_read(transport: GrpcTransport, grpc_backend: GrpcBackend) -> None:
    """More than 4 MiB is refused by the client, and the next request goes through."""
    grpc_backend.script.append(lambda _context: bytes(5 * 1024 * 1024))

    with pytest.raises(PermanentError, match="RESOURCE_EXHAUSTED"):
        transport.send(Signal.TRACES, b"1")
    assert transport.send(Signal.TRACES, b"2") == Outcome()


def test_silence_means_later(grpc_backend: GrpcBackend) -> None:
    """A backend that does not answer within the timeout gets the request again."""
    stop = threading.Event()

    def sleep(_context: Any) -> bytes:
        stop.wait(10)
        return b""

    grpc_backend.script.append(sleep)
    transport = GrpcTransport(make_config(grpc_backend.endpoint, "grpc", timeout_s=0.2))

    with pytest.raises(TransientError, match="DEADLINE_EXCEEDED"):
        transport.send(Signal.TRACES, b"body")
    stop.set()
    transport.close()


def test_a_closed_port_means_later() -> None:
    """A backend that is not there gets the request when it is; so does one that expects no TLS."""
    endpoint = f"127.0.0.1:{free_port()}"

    for is_insecure in (True, False):
        transport = GrpcTransport(make_config(endpoint, "grpc", is_insecure=is_insecure, timeout_s=1.0))
        with pytest.raises(TransientError):
            transport.send(Signal.TRACES, b"body")
        transport.close()


def test_close_ends_a_call_under_way(grpc_backend: GrpcBackend) -> None:
    """A stop need not wait for a backend that holds up its answer."""
    stop = threading.Event()
    entered = threading.Event()

    def hold(_context: Any) -> bytes:
        entered.set()
        stop.wait(10)
        return b""

    grpc_backend.script.append(hold)
    transport = GrpcTransport(make_config(grpc_backend.endpoint, "grpc", timeout_s=30.0))
    threading.Thread(target=lambda: (entered.wait(10), transport.close()), daemon=True).start()

    with pytest.raises(TransientError):
        transport.send(Signal.TRACES, b"body")
    stop.set()
