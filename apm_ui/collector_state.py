"""What the collector says of itself: asked over its own port, with little patience, only by the page that shows it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PATIENCE_S = 0.3  # for everything together
MAX_ANSWER_BYTES = 200_000
SAID = frozenset(
    {"counts", "started_ns", "rss_bytes", "cpu_s", "in_flight_bytes", "in_flight_limit_bytes"}
    | {"queue_bytes", "commit_p50_ms", "commit_p99_ms"}
)


@dataclass(frozen=True, slots=True)
class CollectorState:
    """The answer of the collector's /healthz; None with the reason when there is none."""

    address: str
    said: Mapping[str, Any] | None
    reason: str = ""


def ask_collector(address: str, token: str = "") -> CollectorState:
    """Ask the collector at `host:port`; gives its answer, or why there is none, after 0.3 s at most."""
    try:
        status, body = _get(address, "/healthz", token)
        if status != 200:
            return CollectorState(
                address, None, "it asks for a token" if status == 401 else f"it answers HTTP {status}"
            )
        said = json.loads(body)
    except TimeoutError:
        return CollectorState(address, None, f"no answer within {PATIENCE_S:g} s")
    except (OSError, ValueError) as error:
        return CollectorState(address, None, getattr(error, "strerror", None) or "its answer cannot be read")
    if not isinstance(said, dict) or not said.keys() >= SAID:
        return CollectorState(address, None, "what answers there is not a collector of this version")
    return CollectorState(address, said)


def _get(address: str, path: str, token: str) -> tuple[int, bytes]:
    """One HTTP/1.0 request: the end of the answer is the end of the connection, so one deadline bounds it all."""
    deadline_s = time.monotonic() + PATIENCE_S
    host, _, port = address.rpartition(":")
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    parts: list[bytes] = []
    size = 0
    with socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {address}\r\n{authorization}\r\n".encode())
        while size < MAX_ANSWER_BYTES:
            connection.settimeout(max(0.001, deadline_s - time.monotonic()))
            part = connection.recv(65_536)
            if not part:
                break
            parts.append(part)
            size += len(part)
    head, _, body = b"".join(parts).partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return int(words[1]) if len(words) > 1 else 0, body
