"""Sending one request over HTTP."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from google.rpc import status_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from otlp_backends import HttpBackend, answer, held, make_config
from stack import free_port

from apm_collector.errors import PermanentError, TransientError
from apm_collector.exporters.http_transport import HttpTransport, retry_after_s
from apm_collector.exporters.otlp_outcome import Outcome
from apm_store.model import Signal


@pytest.fixture
def transport(http_backend: HttpBackend) -> Iterator[HttpTransport]:
    """A transport to the backend of the test."""
    transport = HttpTransport(make_config(http_backend.endpoint, timeout_s=2.0))
    yield transport
    transport.close()


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("signal", list(Signal))
def test_a_request_is_sent_as_otlp_asks(signal: Signal, is_compressed: bool, http_backend: HttpBackend) -> None:
    """The signal's path below the endpoint's own, protobuf, gzip when configured, and the configured headers."""
    endpoint = f"{http_backend.endpoint}/base"
    transport = HttpTransport(make_config(endpoint, is_compressed=is_compressed, headers={"X-Key": "grün"}))

    outcome = transport.send(signal, b"body")
    transport.close()

    ((path, headers),) = http_backend.requests
    assert outcome == Outcome()
    assert http_backend.bodies == [b"body"]
    assert path == f"/base/v1/{signal.value}"
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers.get("Content-Encoding") == ("gzip" if is_compressed else None)
    assert headers["X-Key"].encode("latin-1").decode() == "grün"
    assert headers["User-Agent"].startswith("spanwise-collector/")


def test_one_connection_serves_many_requests(transport: HttpTransport, http_backend: HttpBackend) -> None:
    """The connection is kept; when the backend has closed it meanwhile, the request goes over a new one."""
    transport.send(Signal.TRACES, b"1")
    first = transport._connection.sock
    transport.send(Signal.TRACES, b"2")
    is_kept = transport._connection.sock is first
    first.shutdown(socket.SHUT_RDWR)
    transport.send(Signal.TRACES, b"3")

    assert is_kept
    assert http_backend.bodies == [b"1", b"2", b"3"]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_these_statuses_mean_later(status: int, transport: HttpTransport, http_backend: HttpBackend) -> None:
    """They are the only ones that OTLP lets a client send again, at the time that Retry-After names."""
    http_backend.script.append(answer(status, headers={"Retry-After": "7"}))

    with pytest.raises(TransientError, match=str(status)) as raised:
        transport.send(Signal.TRACES, b"body")

    assert raised.value.retry_after_s == 7


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 405, 408, 413, 415, 500, 501, 505])
def test_all_other_statuses_are_final(status: int, transport: HttpTransport, http_backend: HttpBackend) -> None:
    """The request is not sent again, nor elsewhere; the message of the Status says why, without control characters."""
    elsewhere = {"Location": "http://127.0.0.1:1/"}
    http_backend.script.append(answer(status, status_pb2.Status(message="no\x1b[31m").SerializeToString(), elsewhere))

    with pytest.raises(PermanentError, match=rf"{status} .*: no\\x1b\[31m"):
        transport.send(Signal.TRACES, b"body")

    assert len(http_backend.requests) == 1


def test_a_partial_success_is_read(transport: HttpTransport, http_backend: HttpBackend) -> None:
    """The number of rejected items and the reason are given back."""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 3
    response.partial_success.error_message = "bad\nids"
    http_backend.script.append(answer(200, response.SerializeToString()))

    assert transport.send(Signal.TRACES, b"body") == Outcome(3, "bad\\nids")


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"\xff\xff\xff", b"", bytes(5 * 1024 * 1024)])
def test_a_success_with_a_strange_body_is_a_success(
    body: bytes, transport: HttpTransport, http_backend: HttpBackend
) -> None:
    """HTML, garbage, nothing, or more than 4 MiB: the data was taken, and the next request goes through."""
    http_backend.script.append(answer(200, body))

    assert transport.send(Signal.TRACES, b"1") == Outcome()
    assert transport.send(Signal.TRACES, b"2") == Outcome()


def test_an_endless_response_is_not_read(transport: HttpTransport, http_backend: HttpBackend) -> None:
    """Reading ends soon after 4 MiB."""
    sent: list[int] = []
    ended = threading.Event()

    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(503)
        handler.end_headers()
        try:
            while sum(sent) < 512 * 1024 * 1024:
                sent.append(handler.wfile.write(bytes(1024 * 1024)))
        except OSError:
            ended.set()

    http_backend.script.append(flood)

    with pytest.raises(TransientError, match="503"):
        transport.send(Signal.TRACES, b"1")

    assert ended.wait(10)
    assert sum(sent) < 64 * 1024 * 1024


def test_a_response_that_drips_is_given_up(http_backend: HttpBackend) -> None:
    """A byte now and then does not hold up the exporter beyond its timeout."""
    stop = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not stop.wait(0.05):
            handler.wfile.write(b"\0")

    http_backend.script.append(drip)
    transport = HttpTransport(make_config(http_backend.endpoint, timeout_s=0.3))
    started_s = time.monotonic()

    outcome = transport.send(Signal.TRACES, b"1")
    stop.set()
    transport.close()

    assert outcome == Outcome()
    assert time.monotonic() - started_s < 3


def test_a_closed_connection_means_later(transport: HttpTransport, http_backend: HttpBackend) -> None:
    """A backend that hangs up without an answer gets the request again."""

    def hang_up(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)

    http_backend.script.append(hang_up)

    with pytest.raises(TransientError, match="no answer") as raised:
        transport.send(Signal.TRACES, b"body")
    assert raised.value.retry_after_s == 0
    assert transport.send(Signal.TRACES, b"body") == Outcome()


def test_silence_means_later(http_backend: HttpBackend) -> None:
    """A backend that does not answer within the timeout gets the request again."""
    stop = threading.Event()
    http_backend.script.append(held(stop))
    transport = HttpTransport(make_config(http_backend.endpoint, timeout_s=0.2))

    with pytest.raises(TransientError, match="no answer: timed out"):
        transport.send(Signal.TRACES, b"body")

    stop.set()
    transport.close()
    assert len(http_backend.requests) == 1


def test_a_closed_port_means_later() -> None:
    """A backend that is not there gets the request when it is."""
    with pytest.raises(TransientError, match="refused"):
        HttpTransport(make_config(f"http://127.0.0.1:{free_port()}")).send(Signal.TRACES, b"body")


def test_what_is_no_http_means_later() -> None:
    """A server that speaks something else is not understood, and does not end the exporter."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            connection.recv(65536)
            connection.sendall(b"220 mail.example ESMTP\r\n")
            connection.close()

        greeter = threading.Thread(target=greet)
        greeter.start()
        transport = HttpTransport(make_config(f"http://127.0.0.1:{server.getsockname()[1]}"))

        with pytest.raises(TransientError, match="no answer"):
            transport.send(Signal.TRACES, b"body")
        greeter.join()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        ("0", 0),
        ("5", 5),
        (" 5 ", 5),
        ("1000000000", 100000000),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("٣", 0),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 31),
        ("Mon, 23 Nov 2020 12:00:30 GMT", 0),
        ("Mon, 99 Nov 2026 12:00:30 GMT", 0),
    ],
)
def test_retry_after(value: Any, seconds: int) -> None:
    """A number of seconds or a date; what is neither, or past, asks for nothing."""
    now_s = 1795435200.0  # Mon, 23 Nov 2026 12:00:00 GMT

    assert retry_after_s(value, now_s) == seconds


@pytest.mark.parametrize("is_insecure", [False, True])
def test_a_certificate_is_verified_unless_told_otherwise(
    is_insecure: bool, http_backend: HttpBackend, tmp_path: Path
) -> None:
    """A certificate that nobody vouches for keeps the data here until the configuration allows it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    pair = [str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")]
    request = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2"]
    subprocess.run([*request, "-keyout", pair[0], "-out", pair[1]], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair[1], pair[0])
    http_backend.server.socket = context.wrap_socket(http_backend.server.socket, server_side=True)
    endpoint = http_backend.endpoint.replace("http:", "https:")
    transport = HttpTransport(make_config(endpoint, is_insecure=is_insecure))

    if is_insecure:
        assert transport.send(Signal.TRACES, b"body") == Outcome()
    else:
        with pytest.raises(TransientError, match="CERTIFICATE_VERIFY_FAILED"):
            transport.send(Signal.TRACES, b"body")
    transport.close()
