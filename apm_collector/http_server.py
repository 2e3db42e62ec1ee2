"""The HTTP/1.1 server under OTLP/HTTP: uvicorn on one bound socket, with a protocol of our own."""

from __future__ import annotations

import logging
import socket
from typing import Any, cast

import uvicorn

from apm_collector.config import Endpoint
from apm_collector.errors import StartError
from apm_collector.http_protocol import MAX_HEADER_BYTES, HttpProtocol

_KEEP_ALIVE_S = 60
_STOP_TIMEOUT_S = 2


def bind(endpoint: Endpoint) -> socket.socket:
    """A bound socket; raises StartError naming the endpoint."""
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY on these alone
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not REUSEPORT: a busy port must fail
        listener.bind((endpoint.host, endpoint.port))
    except OSError as error:
        listener.close()
        raise StartError(f"OTLP/HTTP cannot listen on {endpoint}: {error.strerror}") from error
    return listener


def make_server(application: Any) -> uvicorn.Server:
    """A server for an ASGI application; it neither logs requests nor names itself."""
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # what senders do wrong is told to them alone
    return uvicorn.Server(
        uvicorn.Config(
            cast(Any, application),
            interface="asgi3",
            http=HttpProtocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_STOP_TIMEOUT_S,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        )
    )
