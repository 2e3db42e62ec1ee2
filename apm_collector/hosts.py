"""Which names a request may address the collector by: a web page must not reach it under a name of its own."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?\Z")


def is_trusted_host(value: str, bound: str) -> bool:
    """Whether a Host header (`name` or `name:port`) is one of a server that is bound to the host `bound`.

    On loopback those are the names of loopback. A server bound elsewhere also takes addresses and names without
    a dot, as container networks use: neither can be given to a foreign page by DNS.
    """
    match = _HOST.match(value.lower())
    if match is None:
        return False
    host = match["host"].strip("[]")
    if host in _LOOPBACK_NAMES or host == bound.lower():
        return True
    return not _is_loopback(bound) and ("." not in host or _is_address(host))


def is_trusted_origin(value: str, bound: str) -> bool:
    """Whether an Origin header names a page of a trusted host; "null" does not."""
    parts = urlsplit(value)
    return parts.scheme in ("http", "https") and is_trusted_host(parts.netloc, bound)


def _is_loopback(host: str) -> bool:
    return host in _LOOPBACK_NAMES or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
