"""The HTTP/1.1 server under OTLP/HTTP: uvicorn on one bound socket, whose own errors are a Status as well."""

from __future__ import annotations

import logging
import socket
from typing import Any, cast

import h11
import uvicorn
from google.rpc import code_pb2
from uvicorn.protocols.http.h11_impl import H11Protocol

from apm_collector.config import Endpoint
from apm_collector.errors import StartError
from apm_collector.statuses import encode_status, plain_status

MAX_HEADER_BYTES = 16 * 1024
_KEEP_ALIVE_S = 60
_STOP_TIMEOUT_S = 2


class _StatusProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which answers what is no HTTP with a Status, as OTLP asks of every 4xx."""

    def send_400_response(self, msg: str) -> None:
        """Answer and close; a request that has its answer already is only closed."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = encode_status(plain_status(code_pb2.INVALID_ARGUMENT, msg), "json")
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            events = (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(body),
                h11.EndOfMessage(),
            )
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()


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
            http=_StatusProtocol,
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
