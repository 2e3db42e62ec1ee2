"""HTTP/1.1 as uvicorn speaks it, with a short way for the requests that nearly all telemetry comes in.

h11 copies a body several times and takes longer over it than protobuf does. So a plain export request, which is one
whose head leaves nothing open, has its body passed by it; all else goes through h11, and so does the rest of a
connection on which there was something else.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import h11
from google.rpc import code_pb2
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol, RequestResponseCycle

from apm_collector.statuses import encode_status, plain_status

MAX_HEADER_BYTES = 16 * 1024
_HEAD_END = b"\r\n\r\n"
_PLAIN_HEAD = re.compile(
    rb"POST (/v1/(?:traces|metrics|logs)) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n)+)\r\n"
)
_LENGTH = re.compile(rb"[0-9]{1,15}\Z")
_NEEDS_H11 = frozenset({b"transfer-encoding", b"expect", b"connection", b"upgrade", b"trailer", b"te"})

_Headers = list[tuple[bytes, bytes]]


class _PlainCycle(RequestResponseCycle):
    """A plain request and its response: the body comes in one piece, and so does the response go out."""

    async def send(self, message: Any) -> None:
        """Keep the head of the response until its body is there, then write both."""
        if message["type"] == "http.response.start":
            self.response_started = True
            self._head = message
        elif not self.disconnected:
            self.response_complete = True
            self.message_event.set()
            headers = [*self.default_headers, *self._head["headers"]]
            self.transport.write(_response(self._head["status"], headers, message.get("body", b"")))
            if not self.keep_alive or CLOSE_HEADER in headers:
                self.transport.close()
            self.on_response()


class HttpProtocol(H11Protocol):
    """One connection. What is no HTTP is answered with a Status, as OTLP asks of every 4xx.

    The head of a request must have come whole before the keep-alive time is over, counted from the connection's begin
    or the last response; uvicorn leaves a connection open that never sends one, or sends it byte by byte.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_plain = True
        self._missing = 0  # bytes of the body that are still to come
        self._early = b""  # what came before the response to the request under way was sent

    def connection_made(self, transport: Any) -> None:
        """Begin, and wait for the first request for as long as for the others."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        """Take what the sender sent."""
        if self._is_plain:
            self._take(memoryview(data))  # so that taking it apart copies nothing
        else:
            self._take_by_h11(data)

    def send_400_response(self, msg: str) -> None:
        """Answer and close; a request that has its answer already is only closed."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = encode_status(plain_status(code_pb2.INVALID_ARGUMENT, msg), "json")
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), CLOSE_HEADER]
            self.transport.write(_response(400, headers, body))
        self.transport.close()

    def on_response_complete(self) -> None:
        """Go on with what came early."""
        super().on_response_complete()
        early, self._early = self._early, b""
        if early and not self.transport.is_closing():
            self.data_received(early)

    def _take(self, data: memoryview) -> None:
        while data:
            if self._missing:
                data = self._take_body(data)
            elif self.cycle is not None and not self.cycle.response_complete:
                self._early += data
                self.flow.pause_reading()
                return
            elif (request := _plain_request(data)) is not None:
                path, headers, self._missing, data = request
                self._begin(path, headers)
            else:
                self._is_plain = False
                self._take_by_h11(bytes(data))
                return

    def _take_by_h11(self, data: bytes) -> None:
        self.conn.receive_data(data)
        self.handle_events()

    def _take_body(self, data: memoryview) -> memoryview:
        """Take a part of a body, or drop it once there is a response; gives what stands behind the body's end."""
        part, rest = data[: self._missing], data[self._missing :]
        self._missing -= len(part)
        if not self.cycle.response_complete:
            self.cycle.body += part
            self._end_body_if_whole()
        return rest

    def _end_body_if_whole(self) -> None:
        if not self._missing:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def _begin(self, path: str, headers: _Headers) -> None:
        """Have the application answer a request."""
        self._unset_keepalive_if_required()
        scope: Any = {"type": "http", "method": "POST", "path": path, "headers": headers, "client": self.client}
        self.cycle = _PlainCycle(
            scope=scope,
            conn=self.conn,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            on_response=self.on_response_complete,
        )
        self._end_body_if_whole()
        task = self.loop.create_task(self.cycle.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)


def _plain_request(data: memoryview) -> tuple[str, _Headers, int, memoryview] | None:
    """The path, headers and body length of a plain export request, and what follows its head; None for all else."""
    match = _PLAIN_HEAD.match(data, 0, MAX_HEADER_BYTES)
    if match is None:
        return None
    headers: _Headers = []
    for line in match[2].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        headers.append((name.lower(), value.strip(b" \t")))
    names = [name for name, _ in headers]
    if names.count(b"host") != 1 or names.count(b"content-length") != 1 or not _NEEDS_H11.isdisjoint(names):
        return None
    length = headers[names.index(b"content-length")][1]
    if not _LENGTH.match(length):
        return None
    return match[1].decode(), headers, int(length), data[match.end() :]


def _response(status: int, headers: _Headers, body: bytes) -> bytes:
    """A response as it is sent."""
    head = [b"HTTP/1.1 %d %b" % (status, STATUS_PHRASES[status]), *(b"%b: %b" % header for header in headers)]
    return b"\r\n".join(head) + _HEAD_END + body
