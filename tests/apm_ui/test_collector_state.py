"""Asking the collector with little patience."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from apm_ui.collector_state import PATIENCE_S, SAID, ask_collector

GOOD = dict.fromkeys(SAID, 1) | {"counts": {}}


@pytest.fixture
def answering() -> Iterator[Callable[[Callable[[socket.socket], None]], tuple[str, list[bytes]]]]:
    """Start a server that treats its one connection as it is told; gives its address and what it is sent."""
    threads: list[threading.Thread] = []
    sockets: list[socket.socket] = []

    def start(treat: Callable[[socket.socket], None]) -> tuple[str, list[bytes]]:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(10)
        sockets.append(listener)
        received: list[bytes] = []

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                received.append(connection.recv(65_536))
                treat(connection)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return f"127.0.0.1:{listener.getsockname()[1]}", received

    yield start
    for thread in threads:
        thread.join()
    for one in sockets:
        one.close()


def _reply(body: bytes, status: str = "200 OK") -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(b"HTTP/1.1 " + status.encode() + b"\r\nx: y\r\n\r\n" + body)


def test_the_answer_is_given_and_the_token_goes_in_a_header(answering) -> None:
    """A collector's answer comes as it is; the token is in no address."""
    address, received = answering(_reply(json.dumps(GOOD).encode()))

    state = ask_collector(address, "secret")

    assert (state.said, state.reason) == (GOOD, "")
    assert received[0].startswith(b"GET /healthz HTTP/1.0\r\n")
    assert b"\r\nAuthorization: Bearer secret\r\n" in received[0]


@pytest.mark.parametrize(
    ("treat", "reason"),
    [
        (_reply(b"{}", "401 Unauthorized"), "it asks for a token"),
        (_reply(b"{}", "500 Oh"), "it answers HTTP 500"),
        (_reply(b"<html>"), "its answer cannot be read"),
        (_reply(b'{"counts": {}}'), "what answers there is not a collector of this version"),
        (_reply(b"[1]"), "what answers there is not a collector of this version"),
        (lambda _connection: None, "it answers HTTP 0"),
        (lambda connection: connection.sendall(b"SSH-2.0 hello\r\n"), "its answer cannot be read"),
    ],
)
def test_anything_else_is_a_reason(answering, treat, reason: str) -> None:
    """Whatever answers at the port, the page gets a reason in words."""
    address, _ = answering(treat)

    state = ask_collector(address)

    assert (state.said, state.reason) == (None, reason)


def _drip(connection: socket.socket) -> None:
    end = time.monotonic() + 1
    while time.monotonic() < end:
        try:
            connection.sendall(b"x")
        except OSError:
            return
        time.sleep(0.02)


@pytest.mark.parametrize("treat", [lambda _connection: time.sleep(1), _drip], ids=["silent", "one byte at a time"])
def test_a_slow_collector_costs_no_more_than_the_patience(answering, treat) -> None:
    """Neither silence nor an answer that never ends holds the page up."""
    address, _ = answering(treat)
    began = time.monotonic()

    state = ask_collector(address)

    assert time.monotonic() - began < PATIENCE_S + 0.3
    assert (state.said, state.reason) == (None, "no answer within 0.3 s")


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nonsense", "127.0.0.1:99999", ""])
def test_a_closed_port_or_no_address_is_a_reason(address: str) -> None:
    """Nothing is raised."""
    assert ask_collector(address).said is None
