"""OTLP over HTTP: a raw ASGI application under uvicorn, bytes in and OTLP status out."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import orjson
import uvicorn
from google.rpc import code_pb2, status_pb2

from apm_collector.config import Endpoint, ProtocolConfig
from apm_collector.errors import CollectorError, StartError, TooLargeError, TransientError
from apm_collector.hosts import is_trusted_host, is_trusted_origin
from apm_collector.intake import Intake, Reservation
from apm_collector.otlp import Encoding, encode_response
from apm_collector.pipeline import Consumer
from apm_collector.statuses import status_of
from apm_store.model import Signal

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_SIGNALS = {f"/v1/{signal.value}": signal for signal in Signal}
_ENCODINGS: Mapping[str, Encoding] = {"application/x-protobuf": "protobuf", "application/json": "json"}
_CONTENT_TYPES: Mapping[Encoding, str] = {"protobuf": "application/x-protobuf", "json": "application/json"}
_MAX_HEADER_BYTES = 16 * 1024
_BODY_TIMEOUT_S = 30
_KEEP_ALIVE_S = 60


@dataclass(frozen=True, slots=True)
class _Answer:
    """One HTTP response."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class _HttpError(Exception):
    """A request that HTTP itself refuses."""

    def __init__(self, status: HTTPStatus, code: int, message: str, *headers: tuple[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


class _DisconnectedError(Exception):
    """The sender went away before its request was whole."""


class OtlpHttpReceiver:
    """Serves POST /v1/{traces,metrics,logs} for the signals that have a consumer, and GET /healthz."""

    def __init__(self, config: ProtocolConfig, consumers: Mapping[Signal, Consumer], intake: Intake) -> None:
        self._config = config
        self._consumers = consumers
        self._intake = intake
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self.endpoint = config.endpoint

    async def start(self) -> None:
        """Bind the endpoint and serve; raises StartError when it cannot be bound."""
        listener = _bind(self._config.endpoint)
        self.endpoint = Endpoint(self._config.endpoint.host, listener.getsockname()[1])
        logging.getLogger("uvicorn").setLevel(logging.ERROR)  # what senders do wrong is told to them alone
        self._server = uvicorn.Server(
            uvicorn.Config(
                cast(Any, self.handle),
                interface="asgi3",
                http="h11",
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=2,
                h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
            )
        )
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not self._serving.done():
            await asyncio.sleep(0.01)

    async def wait(self) -> None:
        """Return when the server has ended."""
        if self._serving is not None:
            await asyncio.wait([self._serving])

    async def stop(self) -> None:
        """Stop listening, answer what is under way, and end; safe before start and more than once."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving

    async def handle(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one HTTP request (the ASGI application)."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        encoding = _ENCODINGS.get(media_type, "json")  # a sender of neither encoding can read JSON best
        signal = _SIGNALS.get(scope["path"])
        try:
            answer = await self._route(scope, headers, signal, media_type, receive)
        except _DisconnectedError:
            return
        except _HttpError as error:
            status = status_pb2.Status(code=error.code, message=str(error))
            answer = _status_answer(error.status, status, encoding, error.headers)
        except CollectorError as error:
            answer = _error_answer(error, encoding)
        if answer.status >= HTTPStatus.BAD_REQUEST and signal is not None:
            self._intake.counts.add_refused(signal)
        await _send_answer(send, answer)

    async def _route(
        self, scope: _Scope, headers: Mapping[str, str], signal: Signal | None, media_type: str, receive: _Receive
    ) -> _Answer:
        """Check what can be checked before the body, then take it."""
        self._check_origin(headers)
        if scope["path"] == "/healthz":
            _check_method(scope["method"], "GET")
            health = {"status": "ok", "counts": self._intake.counts.snapshot()}
            return _Answer(HTTPStatus.OK, "application/json", orjson.dumps(health))
        consumer = self._consumers.get(signal) if signal is not None else None
        if signal is None or consumer is None:
            paths = ", ".join(path for path, one in _SIGNALS.items() if one in self._consumers)
            raise _HttpError(HTTPStatus.NOT_FOUND, code_pb2.NOT_FOUND, f"there is nothing here; POST to {paths}")
        _check_method(scope["method"], "POST")
        encoding = _ENCODINGS.get(media_type)
        if encoding is None:
            raise _unsupported(f"Content-Type {media_type or 'is missing'}", " or ".join(_ENCODINGS))
        return await self._export(consumer, signal, encoding, headers, receive)

    def _check_origin(self, headers: Mapping[str, str]) -> None:
        """Refuse what a foreign web page can make a browser send: it reaches loopback under a name of its own."""
        bound = self.endpoint.host
        if not is_trusted_host(headers.get("host", ""), bound):
            message = f"the Host {headers.get('host', '')[:200]!r} is not one of this collector"
            raise _HttpError(HTTPStatus.BAD_REQUEST, code_pb2.INVALID_ARGUMENT, message)
        if "origin" in headers and not is_trusted_origin(headers["origin"], bound):
            raise _HttpError(
                HTTPStatus.FORBIDDEN, code_pb2.PERMISSION_DENIED, "web pages of other origins may not send here"
            )

    async def _export(
        self,
        consumer: Consumer,
        signal: Signal,
        encoding: Encoding,
        headers: Mapping[str, str],
        receive: _Receive,
    ) -> _Answer:
        compression = headers.get("content-encoding", "").strip().lower()
        if compression not in ("", "identity", "gzip"):
            raise _unsupported(f"Content-Encoding {compression[:100]}", "gzip or none")
        limit = self._config.max_request_bytes
        declared = int(headers.get("content-length", "0"))  # h11 lets only digits through
        _check_size(declared, limit)
        with self._intake.reserve(declared) as reservation:
            body = await _read_body(receive, limit, reservation)
            max_inflated = limit if compression == "gzip" else None
            decoded = await self._intake.accept(consumer, signal, body, encoding, max_inflated_bytes=max_inflated)
        return _Answer(HTTPStatus.OK, _CONTENT_TYPES[encoding], encode_response(signal, decoded, encoding))


def _bind(endpoint: Endpoint) -> socket.socket:
    """A bound socket; raises StartError naming the endpoint."""
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not REUSEPORT: a busy port must fail
        listener.bind((endpoint.host, endpoint.port))
    except OSError as error:
        listener.close()
        raise StartError(f"OTLP/HTTP cannot listen on {endpoint}: {error.strerror}") from error
    return listener


def _check_method(method: str, accepted: str) -> None:
    if method != accepted:
        message = f"{method} is not possible here, {accepted} is"
        raise _HttpError(HTTPStatus.METHOD_NOT_ALLOWED, code_pb2.UNIMPLEMENTED, message, ("allow", accepted))


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLargeError(f"the body is larger than {limit:,} bytes")


def _unsupported(what: str, accepted: str) -> _HttpError:
    return _HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, code_pb2.INVALID_ARGUMENT, f"{what}; {accepted} is needed")


async def _read_body(receive: _Receive, limit: int, reservation: Reservation) -> bytes:
    """The whole body of a request, within its size limit, the memory budget and the time for a body."""
    deadline = asyncio.get_running_loop().time() + _BODY_TIMEOUT_S
    parts: list[bytes] = []
    size = 0
    while True:
        left_s = deadline - asyncio.get_running_loop().time()
        try:
            event = await asyncio.wait_for(receive(), left_s)
        except asyncio.TimeoutError as error:
            message = f"the body did not arrive within {_BODY_TIMEOUT_S} s"
            raise _HttpError(HTTPStatus.REQUEST_TIMEOUT, code_pb2.INVALID_ARGUMENT, message) from error
        if event["type"] == "http.disconnect":
            raise _DisconnectedError
        parts.append(event.get("body", b""))
        size += len(parts[-1])
        _check_size(size, limit)
        reservation.hold(size)
        if not event.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _error_answer(error: CollectorError, encoding: Encoding) -> _Answer:
    """The HTTP form of what the collector itself refuses."""
    status = status_of(error)
    if isinstance(error, TransientError):
        retry_after = ("retry-after", str(error.retry_after_s))
        return _status_answer(HTTPStatus.SERVICE_UNAVAILABLE, status, encoding, (retry_after,))
    code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if isinstance(error, TooLargeError) else HTTPStatus.BAD_REQUEST
    return _status_answer(code, status, encoding)


def _status_answer(
    http_status: HTTPStatus, status: status_pb2.Status, encoding: Encoding, headers: tuple[tuple[str, str], ...] = ()
) -> _Answer:
    """A response whose body is a google.rpc.Status."""
    if encoding == "json":
        body = orjson.dumps({"code": status.code, "message": status.message})
    else:
        body = status.SerializeToString()
    return _Answer(http_status, _CONTENT_TYPES[encoding], body, headers)


async def _send_answer(send: _Send, answer: _Answer) -> None:
    headers = [("content-type", answer.content_type), ("content-length", str(len(answer.body))), *answer.headers]
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": int(answer.status), "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body})
