"""The HTTP server: its socket and what it answers by itself."""

from __future__ import annotations

import http.client
import socket
import time
from typing import Any

import pytest

from apm_collector.config import Endpoint
from apm_collector.errors import StartError
from apm_collector.http_server import bind


def test_a_busy_port_is_refused_naming_it() -> None:
    """Two servers never share a port."""
    first = bind(Endpoint("127.0.0.1", 0))
    first.listen()
    port = first.getsockname()[1]

    with pytest.raises(StartError, match=f"127.0.0.1:{port}"):
        bind(Endpoint("127.0.0.1", port))
    first.close()


def test_its_socket_says_that_it_is_tcp() -> None:
    """The event loop sends without delay only on sockets that name the protocol."""
    listener = bind(Endpoint("127.0.0.1", 0))

    assert listener.proto == socket.IPPROTO_TCP
    listener.close()


def test_answers_with_a_body_come_without_delay(live: Any) -> None:
    """A head that waited for the acknowledgement of the last packet would take 40 ms each time."""
    endpoint = live.collector.endpoints["otlp/http"]
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=10)
    times = []
    for _ in range(30):
        began = time.perf_counter()
        connection.request("POST", "/v1/traces", b"{", {"Content-Type": "application/json"})
        connection.getresponse().read()
        times.append(time.perf_counter() - began)
    connection.close()

    assert min(times[1:]) < 0.02
