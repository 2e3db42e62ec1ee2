"""Plain export requests take a short way past h11; nobody who sends can tell."""

from __future__ import annotations

import http.client
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from builders import make_request, make_span

from apm_collector import http_server

BODY = make_request([make_span("op", span=number) for number in range(1, 51)]).SerializeToString()
HEAD = b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"
PLAIN = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n"
NOT_HERE = PLAIN.replace(b"/v1/traces", b"/v1/nothing")
BAD = HEAD + b"Content-Length: 1\r\n\r\n\xff"
TOO_LONG = HEAD + b"Content-Length: %d\r\n\r\n" % (65 * 1024 * 1024)


@pytest.fixture
def link(live: Any) -> Iterator[socket.socket]:
    """A connection to a live collector."""
    endpoint = live.collector.endpoints["otlp/http"]
    with socket.create_connection((endpoint.host, endpoint.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def _status(connection: socket.socket) -> int:
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


@pytest.mark.parametrize("at", [1, 10, len(PLAIN) - len(BODY) - 1, len(PLAIN) - len(BODY), len(PLAIN) - 1])
def test_a_request_may_come_in_two_parts(at: int, link: socket.socket, live: Any) -> None:
    """Wherever it is cut: in the request line, in the head's end, behind the head, before the last byte."""
    for _ in range(3):
        link.sendall(PLAIN[:at])
        with pytest.raises(TimeoutError):
            link.settimeout(0.02)
            link.recv(1)
        link.settimeout(10)
        link.sendall(PLAIN[at:])

        assert _status(link) == 200
    assert live.store.stats().spans == 50


def test_all_kinds_of_requests_take_turns_on_a_connection(link: socket.socket) -> None:
    """Both ways leave the connection as the other one needs it."""
    answers = []
    for request in (PLAIN, BAD, PLAIN, NOT_HERE, PLAIN, CHUNKED, PLAIN, CHUNKED, BAD):
        link.sendall(request)
        answers.append(_status(link))

    assert answers == [200, 400, 200, 404, 200, 200, 200, 200, 400]


@pytest.mark.parametrize("second", [PLAIN, CHUNKED, HEAD + b"Content-Length: 0\r\n\r\n"])
def test_what_comes_early_waits(second: bytes, link: socket.socket) -> None:
    """Several requests in one packet are answered one after the other, in their order."""
    link.sendall(PLAIN + second + BAD + NOT_HERE)
    answer = b""
    while answer.count(b"HTTP/1.1 ") < 4 or b"POST to" not in answer:
        answer += link.recv(10_000)

    assert [line.split()[1] for line in answer.split(b"HTTP/1.1") if line] == [b"OK"] * 2 + [b"Bad"] + [b"Not"]


def test_a_body_that_is_refused_is_let_go(link: socket.socket, live: Any) -> None:
    """The answer comes before the body, which then is no request of its own."""
    link.sendall(TOO_LONG)
    refused = _status(link)
    for _ in range(65):
        link.sendall(bytes(1024 * 1024))
    link.sendall(PLAIN)

    assert (refused, _status(link)) == (413, 200)
    assert live.store.stats().spans == 50


@pytest.mark.parametrize(
    "line",
    [
        *(b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length: +5", b"Content-Length: 0x5", b"Content-Length:"),
        *(b"Content-Length : 5", b"X: \x00\r\nContent-Length: 5", b"\xe4: b\r\nContent-Length: 5"),
        *(b"Host: localhost\r\nContent-Length: 5", b"Transfer-Encoding: chunked\r\nContent-Length: 5"),
    ],
)
def test_a_head_that_may_be_read_in_two_ways_is_refused(line: bytes, link: socket.socket) -> None:
    """Such requests are never plain: another server in between could see another body in them."""
    well_formed = b"\x12\x03abc"  # an unknown field of protobuf
    link.sendall(HEAD + b"Content-Length: 5\r\n\r\n" + well_formed)
    plain = _status(link)
    link.sendall(HEAD + line + b"\r\n\r\n" + well_formed)

    assert (plain, _status(link)) == (200, 400)


def test_a_sender_that_asks_to_close_is_closed(link: socket.socket) -> None:
    """After its answer."""
    link.sendall(HEAD + b"Connection: close\r\n" + PLAIN[len(HEAD) :])

    assert _status(link) == 200
    assert link.recv(1) == b""


def test_a_mistake_of_the_application_closes_the_connection(
    start: Callable[..., Any], store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told apart from an answer of the collector, and the next connection is served."""
    live = start(store)
    endpoint = live.collector.endpoints["otlp/http"]
    with monkeypatch.context() as patch, socket.create_connection((endpoint.host, endpoint.port), timeout=10) as broken:
        patch.setattr("apm_collector.receivers.otlp_http._send_answer", None)
        broken.sendall(PLAIN)

        assert _status(broken) == 500
        assert broken.recv(1) == b""
    with socket.create_connection((endpoint.host, endpoint.port), timeout=10) as connection:
        connection.sendall(PLAIN)

        assert _status(connection) == 200


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch, start: Callable[..., Any], store: Any) -> Any:
    """A collector that waits for the head of a request for 0.3 s."""
    monkeypatch.setattr(http_server, "_KEEP_ALIVE_S", 0.3)
    return start(store)


@pytest.mark.parametrize(
    ("sent", "answers"),
    [(b"", 0), (HEAD, 0), (PLAIN, 1), (PLAIN + HEAD, 1), (CHUNKED + HEAD[:5], 1), (NOT_HERE + PLAIN, 2)],
)
def test_a_connection_without_a_request_is_closed(sent: bytes, answers: int, hurried: Any) -> None:
    """One that never sends, that stops within a head, or that has its answers and stays; what it got is served."""
    endpoint = hurried.collector.endpoints["otlp/http"]
    with socket.create_connection((endpoint.host, endpoint.port), timeout=10) as connection:
        connection.sendall(sent)

        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.count(b"HTTP/1.1 ") == answers


def test_bytes_that_drip_do_not_hold_a_connection(hurried: Any) -> None:
    """A head that comes byte by byte must be whole in time, too."""
    endpoint = hurried.collector.endpoints["otlp/http"]
    with socket.create_connection((endpoint.host, endpoint.port)) as connection:
        sent = 0
        while not select.select([connection], [], [], 0.02)[0] and sent < len(HEAD):
            connection.sendall(HEAD[sent : sent + 1])
            sent += 1

        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert 0 < sent < len(HEAD)
