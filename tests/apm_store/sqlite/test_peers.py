"""A span tells by its attributes whom it calls."""

from __future__ import annotations

import pytest
from builders import attribute

from apm_store.sqlite.peers import peer_of


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, None),
        ({"peer.service": "pay", "server.address": "10.0.0.1", "http.request.method": "GET"}, ("pay", "http")),
        ({"server.address": "api", "server.port": 443, "http.request.method": "GET"}, ("api:443", "http")),
        ({"net.peer.name": "api", "net.peer.port": 80, "http.method": "GET"}, ("api:80", "http")),
        (
            {"network.peer.address": "10.0.0.1", "network.peer.port": 5432, "db.system.name": "x"},
            ("10.0.0.1:5432", "database"),
        ),
        ({"db.system": "sqlite", "db.name": "shop.db"}, ("shop.db", "database")),
        ({"db.system.name": "redis"}, ("redis", "database")),
        ({"db.system.name": "redis", "http.request.method": "POST"}, ("redis", "database")),
        (
            {"messaging.system": "kafka", "messaging.destination.name": "orders", "server.address": "b1"},
            ("orders", "messaging"),
        ),
        ({"messaging.system": "kafka"}, ("kafka", "messaging")),
        ({"rpc.system": "grpc", "rpc.service": "Pay"}, ("Pay", "rpc")),
        ({"server.address": "somewhere"}, ("somewhere", "")),
        ({"server.address": 7, "http.method": "GET"}, ("", "http")),
        ({"peer.service": "x" * 1_000}, ("x" * 200, "")),
    ],
)
def test_a_peer_is_named_by_the_best_attribute(
    attributes: dict[str, str | int], expected: tuple[str, str] | None
) -> None:
    """`peer.service`, then a topic, then the address, then what the database or service is called."""
    values = {key: attribute(key, value).value for key, value in attributes.items()}

    assert peer_of(values) == expected
