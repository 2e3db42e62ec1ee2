"""OTLP over HTTP: a raw ASGI application under uvicorn, bytes in and OTLP status out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import uvicorn
from google.rpc import code_pb2, status_pb2

from apm_collector.config import Endpoint, ProtocolConfig
from apm_collector.control import MAX_BODY_BYTES, METHODS, OwnRoutes
from apm_collector.cors import cors_headers, is_allowed_origin, preflight_headers
from apm_collector.errors import CollectorError, TooLargeError, TransientError, UnauthorizedError
from apm_collector.hosts import is_trusted_host, is_trusted_origin
from apm_collector.http_protocol import MAX_HEADER_BYTES
from apm_collector.http_server import bind, make_server
from apm_collector.intake import Intake, Reservation
from apm_collector.otlp import Encoding, encode_response
from apm_collector.pipeline import Consumer
from apm_collector.statuses import encode_status, plain_status, status_of
from apm_store.model import Signal

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_Headers = tuple[tuple[str, str], ...]

_SIGNALS = {f"/v1/{signal.value}": signal for signal in Signal}
_ENCODINGS: Mapping[str, Encoding] = {"application/x-protobuf": "protobuf", "application/json": "json"}
_CONTENT_TYPES: Mapping[Encoding, str] = {"protobuf": "application/x-protobuf", "json": "application/json"}
_BODY_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class _Answer:
    """One HTTP response."""

    status: int
    content_type: str
    body: bytes
    headers: _Headers = ()


class _HttpError(Exception):
    """A request that HTTP itself refuses. `reason` is the word that it is counted under."""

    reason = "other"

    def __init__(self, status: HTTPStatus, code: int, message: str, *headers: tuple[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


class _DisconnectedError(Exception):
    """The sender went away before its request was whole."""


class OtlpHttpReceiver:
    """Serves POST /v1/{traces,metrics,logs} for the signals that have a consumer, and the collector's own routes."""

    def __init__(
        self, config: ProtocolConfig, consumers: Mapping[Signal, Consumer], intake: Intake, own_routes: OwnRoutes
    ) -> None:
        self._config = config
        self._consumers = consumers
        self._intake = intake
        self._own_routes = own_routes
        self._cors = config.cors
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self.endpoint = config.endpoint

    async def start(self) -> None:
        """Bind the endpoint and serve; raises StartError when it cannot be bound."""
        listener = bind(self._config.endpoint)
        self.endpoint = Endpoint(self._config.endpoint.host, listener.getsockname()[1])
        self._server = make_server(self.handle)
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
            self._check_sender(scope, headers)
            answer = await self._route(scope, headers, signal, media_type, receive)
        except _DisconnectedError:
            return
        except (_HttpError, CollectorError) as error:
            answer = _error_answer(error, encoding)
            if signal is not None:
                self._intake.counts.add_refused(signal, error.reason)
        origin = headers.get("origin", "")
        await _send_answer(send, answer, cors_headers(origin) if is_allowed_origin(self._cors, origin) else ())

    def _check_sender(self, scope: _Scope, headers: Mapping[str, str]) -> None:
        """Refuse whom nothing is to be taken from, before the body is read."""
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
            message = f"the headers are larger than {MAX_HEADER_BYTES:,} bytes"
            raise _HttpError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, code_pb2.INVALID_ARGUMENT, message)
        if "content-length" in headers and "transfer-encoding" in headers:  # a proxy may have read another request
            message = "Content-Length and Transfer-Encoding contradict each other"
            raise _HttpError(HTTPStatus.BAD_REQUEST, code_pb2.INVALID_ARGUMENT, message, ("connection", "close"))
        self._check_origin(headers)
        if scope["method"] != "OPTIONS":  # browsers send no token with a preflight
            self._intake.check_token(headers.get("authorization", ""), scope["client"][0])

    async def _route(
        self, scope: _Scope, headers: Mapping[str, str], signal: Signal | None, media_type: str, receive: _Receive
    ) -> _Answer:
        """Check what can be checked before the body, then take it."""
        if scope["path"] in METHODS:
            return await self._answer_own(scope["method"], scope["path"], headers, receive)
        consumer = self._consumers.get(signal) if signal is not None else None
        if signal is None or consumer is None:
            paths = ", ".join(path for path, one in _SIGNALS.items() if one in self._consumers)
            raise _HttpError(HTTPStatus.NOT_FOUND, code_pb2.NOT_FOUND, f"there is nothing here; POST to {paths}")
        if self._cors is not None and scope["method"] == "OPTIONS" and "origin" in headers:
            return _Answer(HTTPStatus.NO_CONTENT, "", b"", preflight_headers(self._cors, headers))
        _check_method(scope["method"], "POST")
        encoding = _ENCODINGS.get(media_type)
        if encoding is None:
            raise _unsupported(f"Content-Type {media_type or 'is missing'}", " or ".join(_ENCODINGS))
        return await self._export(consumer, signal, encoding, headers, receive)

    async def _answer_own(self, method: str, path: str, headers: Mapping[str, str], receive: _Receive) -> _Answer:
        """Answer one of the collector's own routes, off the event loop."""
        _check_method(method, METHODS[path])
        with self._intake.reserve(0) as reservation:
            body = await _read_body_in_time(receive, MAX_BODY_BYTES, reservation)
        return _Answer(*await asyncio.to_thread(self._own_routes.handle, method, path, headers, body))

    def _check_origin(self, headers: Mapping[str, str]) -> None:
        """Refuse what a foreign web page can make a browser send: it reaches loopback under a name of its own."""
        bound = self.endpoint.host
        if not is_trusted_host(headers.get("host", ""), bound):
            message = f"the Host {headers.get('host', '')[:200]!r} is not one of this collector"
            raise _HttpError(HTTPStatus.BAD_REQUEST, code_pb2.INVALID_ARGUMENT, message)
        origin = headers.get("origin")
        if origin is None or is_trusted_origin(origin, bound) or is_allowed_origin(self._cors, origin):
            return
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
            body = await _read_body_in_time(receive, limit, reservation)
            max_inflated = limit if compression == "gzip" else None
            decoded = await self._intake.accept(
                consumer, signal, body, encoding, reservation=reservation, max_inflated_bytes=max_inflated
            )
        return _Answer(HTTPStatus.OK, _CONTENT_TYPES[encoding], encode_response(signal, decoded, encoding))


def _check_method(method: str, accepted: str) -> None:
    if method != accepted:
        message = f"{method} is not possible here, {accepted} is"
        raise _HttpError(HTTPStatus.METHOD_NOT_ALLOWED, code_pb2.UNIMPLEMENTED, message, ("allow", accepted))


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLargeError(f"the body is larger than {limit:,} bytes")


def _unsupported(what: str, accepted: str) -> _HttpError:
    return _HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, code_pb2.INVALID_ARGUMENT, f"{what}; {accepted} is needed")


async def _read_body_in_time(receive: _Receive, limit: int, reservation: Reservation) -> bytes:
    try:
        return await asyncio.wait_for(_read_body(receive, limit, reservation), _BODY_TIMEOUT_S)
    except asyncio.TimeoutError as error:
        message = f"the body did not arrive within {_BODY_TIMEOUT_S} s"
        raise _HttpError(HTTPStatus.REQUEST_TIMEOUT, code_pb2.INVALID_ARGUMENT, message) from error


async def _read_body(receive: _Receive, limit: int, reservation: Reservation) -> bytes:
    """The whole body of a request, within its size limit and the memory budget."""
    parts: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise _DisconnectedError
        parts.append(event.get("body", b""))
        size += len(parts[-1])
        _check_size(size, limit)
        reservation.hold(size)
        if not event.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _error_answer(error: _HttpError | CollectorError, encoding: Encoding) -> _Answer:
    """The HTTP form of a refusal: a Status as its body."""
    if isinstance(error, _HttpError):
        return _status_answer(error.status, plain_status(error.code, str(error)), encoding, error.headers)
    status = status_of(error)
    if isinstance(error, TransientError):
        retry_after = ("retry-after", str(error.retry_after_s))
        return _status_answer(HTTPStatus.SERVICE_UNAVAILABLE, status, encoding, (retry_after,))
    if isinstance(error, UnauthorizedError):
        return _status_answer(HTTPStatus.UNAUTHORIZED, status, encoding, (("www-authenticate", "Bearer"),))
    code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if isinstance(error, TooLargeError) else HTTPStatus.BAD_REQUEST
    return _status_answer(code, status, encoding)


def _status_answer(
    http_status: HTTPStatus, status: status_pb2.Status, encoding: Encoding, headers: _Headers = ()
) -> _Answer:
    return _Answer(http_status, _CONTENT_TYPES[encoding], encode_status(status, encoding), headers)


async def _send_answer(send: _Send, answer: _Answer, more_headers: _Headers) -> None:
    headers = [*answer.headers, *more_headers]
    if answer.status is not HTTPStatus.NO_CONTENT:
        headers += [("content-type", answer.content_type), ("content-length", str(len(answer.body)))]
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": int(answer.status), "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body})
