"""Whether the ports that apps send to answer; asked only while nothing has arrived yet."""

from __future__ import annotations

import socket

from apm_ui.components.empty import Listener
from apm_ui.sources import Sources

PATIENCE_S = 0.2


def check_listeners(sources: Sources) -> tuple[Listener, ...]:
    """The OTLP addresses of the stack, each with whether it accepts a connection now."""
    addresses = (("OTLP/HTTP", sources.otlp_http), ("OTLP/gRPC", sources.otlp_grpc))
    return tuple(Listener(protocol, address, _answers(address)) for protocol, address in addresses)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S):
            return True
    except (OSError, ValueError):
        return False
