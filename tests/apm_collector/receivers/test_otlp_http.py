"""OTLP/HTTP on a real socket: paths, methods, types, limits, and what is answered when the store fails."""

from __future__ import annotations

import gzip
import http.client
import socket
import threading
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from builders import make_request, make_span
from google.rpc import code_pb2, error_details_pb2, status_pb2

from apm_store.api import StoreBusyError, StoreError
from apm_store.model import Batch, Signal

BODY = make_request([make_span("op")]).SerializeToString()
PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}


class _SlowStore:
    """A store whose write waits until it is let go, then fails with an error or succeeds."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.entered, self.let_go = threading.Event(), threading.Event()
        self.traces = self.metrics = self.logs = self

    def write(self, batch: Batch) -> None:
        self.entered.set()
        self.let_go.wait(30)
        if self.error is not None:
            raise self.error


def test_success_is_answered_in_the_encoding_of_the_request(live: Any) -> None:
    """An empty protobuf or an empty JSON object, and no partial_success."""
    as_protobuf, as_json = live.send(Signal.TRACES, BODY), live.send(Signal.TRACES, b"{}", "json")

    assert (as_protobuf.status, as_protobuf.body) == (200, b"")
    assert as_protobuf.headers["content-type"] == "application/x-protobuf"
    assert (as_json.status, as_json.body) == (200, b"{}")
    assert as_json.headers["content-type"] == "application/json"
    assert live.store.stats().spans == 1


def test_it_is_acknowledged_only_after_the_commit(start: Callable[..., Any]) -> None:
    """While the store writes, the request has no answer."""
    store = _SlowStore()
    live = start(store)
    endpoint = live.collector.endpoints["otlp/http"]
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=0.3)
    connection.request("POST", "/v1/traces", BODY, PROTOBUF)
    assert store.entered.wait(10)

    with pytest.raises(TimeoutError):
        connection.sock.recv(1)
    assert live.collector.counts()["traces"]["accepted"] == 0
    store.let_go.set()
    connection.sock.settimeout(10)

    assert connection.getresponse().status == 200
    assert live.collector.counts()["traces"]["accepted"] == 1
    connection.close()


@pytest.mark.parametrize(("error", "delay_s"), [(StoreBusyError(), 1), (StoreError("disk full"), 5)])
def test_a_store_that_cannot_write_asks_the_sender_to_try_again(
    error: StoreError, delay_s: int, start: Callable[..., Any]
) -> None:
    """503 with Retry-After, never 500: a 500 would make senders drop the data."""
    store = _SlowStore(error)
    store.let_go.set()
    live = start(store)

    as_protobuf = live.send(Signal.TRACES, BODY)
    as_json = live.send(Signal.LOGS, b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}', "json")

    assert as_protobuf.status == as_json.status == 503
    assert as_protobuf.headers["retry-after"] == as_json.headers["retry-after"] == str(delay_s)
    status, info = status_pb2.Status.FromString(as_protobuf.body), error_details_pb2.RetryInfo()
    assert status.code == code_pb2.UNAVAILABLE
    assert status.details[0].Unpack(info)
    assert info.retry_delay.seconds == delay_s
    assert orjson.loads(as_json.body)["code"] == code_pb2.UNAVAILABLE
    refused = live.collector.counts()["logs"]["refused_requests"]
    assert refused == {"overload" if isinstance(error, StoreBusyError) else "store_failed": 1}


def test_more_data_than_the_budget_is_refused_for_now(start: Callable[..., Any]) -> None:
    """While requests of 128 MiB wait for the store, the next one gets 503; afterwards it is taken."""
    store = _SlowStore()
    live = start(store)
    filler = make_request([make_span("x" * 60_000_000)]).SerializeToString()
    threads = [threading.Thread(target=live.send, args=(Signal.TRACES, filler)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert store.entered.wait(20)
    refused = _wait_for_status(live, filler, 503)
    store.let_go.set()
    for thread in threads:
        thread.join()

    assert refused.headers["retry-after"] == "1"
    assert live.send(Signal.TRACES, BODY).status == 200


def _wait_for_status(live: Any, body: bytes, status: int) -> Any:
    """The first answer of a status, of a few."""
    for _ in range(20):
        reply = live.send(Signal.TRACES, body)
        if reply.status == status:
            return reply
    raise AssertionError(f"no answer {status}")


@pytest.mark.parametrize(("size", "status"), [(64 * 1024 * 1024, 200), (64 * 1024 * 1024 + 1, 413)])
@pytest.mark.parametrize("is_gzip", [False, True])
def test_a_body_has_at_most_64_mib(size: int, status: int, is_gzip: bool, live: Any) -> None:
    """The limit holds before and after decompression, and the sender is told."""
    body = b"\xfa\x3e" + _varint(size - 6) + bytes(size - 6)  # one field of a number that OTLP does not know

    headers = {**PROTOBUF, "Content-Encoding": "gzip"} if is_gzip else PROTOBUF
    reply = live.post("/v1/traces", gzip.compress(body, 1) if is_gzip else body, headers)

    assert reply.status == status
    if status == 413:
        assert status_pb2.Status.FromString(reply.body).code == code_pb2.RESOURCE_EXHAUSTED


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def test_a_chunked_body_is_read_whole(live: Any) -> None:
    """Without a Content-Length every chunk counts."""
    endpoint = live.collector.endpoints["otlp/http"]
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=10)

    connection.request("POST", "/v1/traces", iter([BODY[:10], BODY[10:30], BODY[30:]]), PROTOBUF, encode_chunked=True)

    assert connection.getresponse().status == 200
    assert live.store.stats().spans == 1
    connection.close()


def test_gzip_is_taken(live: Any) -> None:
    """In any case of the header's value."""
    reply = live.post("/v1/traces", gzip.compress(BODY), {**PROTOBUF, "Content-Encoding": "GZIP"})

    assert reply.status == 200
    assert live.store.stats().spans == 1


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip"])
def test_other_encodings_are_refused_naming_gzip(encoding: str, live: Any) -> None:
    """415 says what would be taken."""
    reply = live.post("/v1/traces", BODY, {**JSON, "Content-Encoding": encoding})

    assert reply.status == 415
    assert "gzip" in orjson.loads(reply.body)["message"]


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_other_content_types_are_refused_naming_both(content_type: str | None, live: Any) -> None:
    """415 says which two would be taken; what a web form can send is never among them."""
    reply = live.post("/v1/traces", BODY, {"Content-Type": content_type} if content_type else {})

    message = orjson.loads(reply.body)["message"]
    assert reply.status == 415
    assert "application/x-protobuf" in message
    assert "application/json" in message


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_only_post_takes_telemetry(method: str, live: Any) -> None:
    """405 names POST, and no CORS header is given."""
    reply = live.post("/v1/logs", b"", JSON, method)

    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert not [name for name in reply.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/v1/nope", "/v1/traces/", "/v1development/profiles", "/v1/../etc/passwd"])
def test_an_unknown_path_is_404_with_the_known_ones(path: str, live: Any) -> None:
    """The message helps to find the right one."""
    reply = live.post(path, BODY, PROTOBUF)

    assert reply.status == 404
    assert "/v1/traces" in status_pb2.Status.FromString(reply.body).message


@pytest.mark.parametrize("path", ["/v1/traces", "/healthz", "/nope"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil", ""])
def test_a_foreign_host_is_refused_on_every_path(path: str, host: str, live: Any) -> None:
    """A name that DNS points at loopback opens nothing."""
    reply = live.post(path, BODY, {**PROTOBUF, "Host": host})

    assert reply.status == 400
    assert live.store.stats().spans == 0


def test_a_page_of_a_foreign_origin_is_refused(live: Any) -> None:
    """Also where the Host is right."""
    reply = live.post("/v1/traces", b"{}", {**JSON, "Origin": "http://evil.example"})

    assert reply.status == 403
    assert live.post("/v1/traces", b"{}", {**JSON, "Origin": "http://localhost:3000"}).status == 200


def test_health_tells_status_and_counts(live: Any) -> None:
    """GET /healthz is JSON; other methods are refused."""
    live.send(Signal.TRACES, BODY)
    live.send(Signal.TRACES, BODY)
    live.send(Signal.TRACES, make_request([make_span("bad", trace=0)]).SerializeToString())
    live.send(Signal.METRICS, b"<html>")

    health = orjson.loads(live.post("/healthz", b"", {}, "GET").body)

    assert health["status"] == "ok"
    assert health["counts"]["traces"]["accepted"] == 2
    assert health["counts"]["traces"]["rejected"] == {"invalid_trace_id": 1}
    assert health["counts"]["metrics"]["refused_requests"] == {"undecodable": 1}
    assert live.post("/healthz", b"", {}).headers["allow"] == "GET"


@pytest.mark.parametrize(
    "request_head",
    [
        b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"GET /" + b"x" * 40_000,
    ],
)
def test_what_is_no_http_is_answered_400_and_closed(request_head: bytes, live: Any) -> None:
    """Bad lengths, two hosts, other protocols and huge headers harm nobody else."""
    endpoint = live.collector.endpoints["otlp/http"]
    with socket.create_connection((endpoint.host, endpoint.port), timeout=10) as connection:
        connection.sendall(request_head)
        answer = b"".join(iter(lambda: connection.recv(1000), b""))

    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"code":3' in answer
    assert live.send(Signal.TRACES, BODY).status == 200


def test_a_sender_that_goes_away_stores_nothing(live: Any) -> None:
    """Half a body is no request, and its share of the budget is given back."""
    endpoint = live.collector.endpoints["otlp/http"]
    with socket.create_connection((endpoint.host, endpoint.port), timeout=10) as connection:
        head = b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"
        connection.sendall(head + b"Content-Length: 60000000\r\n\r\n" + BODY)

    for _ in range(3):
        assert live.send(Signal.TRACES, BODY).status == 200
    assert live.store.stats().spans == 1
