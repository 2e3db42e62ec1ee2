"""Which Host and Origin headers are taken."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from apm_collector.control import METHODS
from apm_collector.hosts import is_trusted_host, is_trusted_origin

FOREIGN = [
    "evil.example",
    "evil.example:4318",
    "127.0.0.1.evil",
    "localhost.evil",
    "localhost.evil:4318",
    "user@localhost",
    "localhost@evil.example",
    "[::ffff:127.0.0.1]",
    "",
    " ",
    "localhost:",
    "localhost:abc",
    "localhost:4318:1",
    "http://localhost",
    "localhost/evil",
    "127.0.0.1, evil.example",
    "0.0.0.0",
    "192.168.1.5",
    "spanwise",
    "[::1",
]


@pytest.mark.parametrize("host", FOREIGN)
def test_on_loopback_foreign_names_are_refused(host: str) -> None:
    """A server on 127.0.0.1 answers to the names of loopback alone."""
    assert not is_trusted_host(host, "127.0.0.1")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:4318", "127.0.0.1:4318", "127.0.0.1", "[::1]:4318", "[::1]"])
def test_on_loopback_its_own_names_are_taken(host: str) -> None:
    """With and without a port, in any case."""
    assert is_trusted_host(host, "127.0.0.1")


@pytest.mark.parametrize(
    ("host", "is_trusted"),
    [
        ("spanwise:4318", True),
        ("192.168.1.5:4318", True),
        ("[fe80::1]:4318", True),
        ("localhost", True),
        ("apm.corp.example", True),
        ("evil.example", False),
    ],
)
def test_off_loopback_addresses_and_names_without_a_dot_are_taken(host: str, is_trusted: bool) -> None:
    """So that containers reach each other; a name that DNS could give to a web page is refused."""
    assert is_trusted_host(host, "0.0.0.0" if "corp" not in host else "apm.corp.example") is is_trusted


@pytest.mark.parametrize(
    ("origin", "is_trusted"),
    [
        ("http://localhost:3000", True),
        ("https://127.0.0.1", True),
        ("http://evil.example", False),
        ("null", False),
        ("file://localhost", False),
        ("http://", False),
    ],
)
def test_an_origin_is_trusted_when_its_host_is(origin: str, is_trusted: bool) -> None:
    """Pages of this machine may send, others may not."""
    assert is_trusted_origin(origin, "127.0.0.1") is is_trusted


PATHS = ["/v1/traces", "/v1/metrics", "/v1/logs", *METHODS, "/", "/nowhere"]
CROSSING = ["http://evil.example", "null", "https://localhost.evil", "http://127.0.0.1.evil:4318", "file://", ""]


def test_no_path_answers_under_a_foreign_name(live: Any) -> None:
    """OTLP, health, metrics, control and unknown paths refuse every foreign Host with every method."""
    asked = [(path, host, method) for path in PATHS for host in FOREIGN for method in ("GET", "POST")]

    statuses = {live.post(path, b"", {"Host": host}, method).status for path, host, method in asked}

    assert statuses == {400}


def test_no_path_answers_a_page_of_another_origin(live: Any) -> None:
    """A browser's request for another site is refused with every method and any kind of body."""
    kinds = ["text/plain", "application/x-www-form-urlencoded", "application/json", "application/x-protobuf"]
    asked = [(path, origin, kind) for path in PATHS for origin in CROSSING for kind in kinds]

    statuses = {
        live.post(path, b"{}", {"Origin": origin, "Content-Type": kind}, method).status
        for path, origin, kind in asked
        for method in ("GET", "POST")
    }

    assert statuses == {403}


@pytest.mark.parametrize(
    "lines",
    [
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
        b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\nHost: localhost",
        b"GET /healthz HTTP/1.1\r\nX: y",
        b"GET /healthz HTTP/1.0\r\nX: y",
        b"GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example",
        b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost",
    ],
    ids=["two hosts", "two hosts, foreign first", "no host", "no host, 1.0", "foreign line", "foreign line, own host"],
)
def test_requests_that_name_no_one_host_get_nothing(live: Any, lines: bytes) -> None:
    """What a well-behaved browser never sends is refused, whoever it means."""
    endpoint = live.collector.endpoints["otlp/http"]
    with socket.create_connection((endpoint.host, endpoint.port), timeout=10) as connection:
        connection.sendall(lines + b"\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))

    assert answer.split(b" ")[1] in {b"400", b"404"}
    assert b"counts" not in answer
