"""Tells from its attributes whom a span calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

_MAX_NAME_CHARS = 200
_PEER_SERVICE = ("peer.service", "service.peer.name")
_ADDRESSES = (
    ("server.address", "server.port"),
    ("net.peer.name", "net.peer.port"),
    ("network.peer.address", "network.peer.port"),
    ("net.sock.peer.addr", "net.sock.peer.port"),
)
_DESTINATION = ("messaging.destination.name", "messaging.destination")
_KIND_OF = {
    "db.system.name": "database",
    "db.system": "database",
    "messaging.system": "messaging",
    "rpc.system.name": "rpc",
    "rpc.system": "rpc",
    "http.request.method": "http",
    "http.method": "http",
}
_NAMES_OF_KIND = {
    "database": ("db.namespace", "db.name", "db.system.name", "db.system"),
    "messaging": ("messaging.system",),
    "rpc": ("rpc.service",),
}
PEER_ATTRIBUTES = frozenset(
    (
        *_PEER_SERVICE,
        *(key for pair in _ADDRESSES for key in pair),
        *_DESTINATION,
        *_KIND_OF,
        *(key for keys in _NAMES_OF_KIND.values() for key in keys),
    )
)
"""The keys of the span attributes that `peer_of` looks at."""


class Peer(NamedTuple):
    """What a span says of the other side: its name ("" for none), and the kind of the call."""

    name: str
    kind: str


def peer_of(attributes: Mapping[str, Any]) -> Peer | None:
    """The peer that a span names in its attributes (`AnyValue` by key); None when they say nothing of one.

    Its name is `peer.service`, or else the topic of a message, or else the address and port, or else what is known of
    the database or the called service. A topic goes before its broker, because both sides of it share it.
    """
    kind = next((kind for key, kind in _KIND_OF.items() if key in attributes), "")
    name = _text(attributes, _PEER_SERVICE) or (kind == "messaging" and _text(attributes, _DESTINATION))
    name = name or _address(attributes) or _text(attributes, _NAMES_OF_KIND.get(kind, ()))
    return Peer(name[:_MAX_NAME_CHARS], kind) if name or kind else None


def _text(attributes: Mapping[str, Any], keys: Iterable[str]) -> str:
    """The first of these attributes that is a string; "" when none is."""
    for key in keys:
        value = attributes.get(key)
        if value is not None and value.string_value:
            return str(value.string_value)
    return ""


def _address(attributes: Mapping[str, Any]) -> str:
    for address_key, port_key in _ADDRESSES:
        address = attributes.get(address_key)
        if address is not None and address.string_value:
            port = attributes.get(port_key)
            number = (port.int_value or port.string_value) if port is not None else ""
            return f"{address.string_value}:{number}" if number else str(address.string_value)
    return ""
