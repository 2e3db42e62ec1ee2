"""Which Host and Origin headers are taken."""

from __future__ import annotations

import pytest

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
