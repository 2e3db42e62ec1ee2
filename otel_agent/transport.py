"""OTLP over HTTP with the standard library alone: bounded in time and size, follows nothing, and is traced by nobody.

It does not use requests: that costs a script that never needs it a tenth of a second, and hosts mock it in their tests.
"""

import encodings.idna  # noqa: F401 - see below
import http.client
import ipaddress
import re
import ssl
import time
from _thread import allocate_lock
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial
from io import BufferedReader, RawIOBase
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from opentelemetry.exporter.http.transport._base import BaseHTTPResult, BaseHTTPTransport

from otel_agent.forks import in_children

# Looking up a host imports encodings.idna. Were that left to the first export, a fork in its midst would leave a child
# with half of the module: neither the agent nor the host could ever look up a host in it.

# What OTLP advises; the answer is only read so that the connection can be used again.
_MOST_RESPONSE_BYTES = 4 * 1024 * 1024
_DEFAULT_TIMEOUT_S = 10.0
_LONGEST_RETRY_S = 30
_RETRYABLE = frozenset({429, 502, 503, 504})
_REDIRECTS = range(300, 400)
_CLOSED = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)

# An answer that says that all is well: status, reason and header fields.
_PLAIN_ANSWER = re.compile(rb"HTTP/1\.1 (2\d\d) ?([^\r\n]*)((?:\r\n[^\r\n]+)*)\r\n\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*(?:\r\n|$)")
_USUAL_RESPONSE_BYTES = 16 * 1024
# Who writes these itself has the official way for every request.
_OWN_LENGTH = frozenset({"content-length", "transfer-encoding"})


@dataclass(frozen=True)
class HttpResult(BaseHTTPResult):
    """Status and headers of an answer, or the error that came instead of one; its body has already been discarded."""

    received_headers: Any = field(default_factory=dict)

    def content(self) -> bytes:
        """Return nothing: what a collector says beyond its status is not kept."""
        return b""

    def headers(self) -> Mapping[str, str]:
        """Return the headers, looked up whatever their case."""
        headers: Mapping[str, str] = self.received_headers
        return headers


@dataclass(frozen=True)
class Tls:
    """The files that certify an https collector to us and us to it; None means the system's own, or none."""

    ca_file: str | None
    client_cert_file: str | None
    client_key_file: str | None

    def context(self) -> ssl.SSLContext:
        """Return a context that verifies the collector; OSError says which file is missing or no certificate."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.client_cert_file:
            context.load_cert_chain(self.client_cert_file, self.client_key_file)
        return context


class HttpTransport(BaseHTTPTransport):
    """One kept connection to one collector; `tls` is what an https endpoint is trusted by."""

    def __init__(self, tls: Tls) -> None:
        # After a request that failed: how long the collector asks to be left alone; None means for ever.
        self.retry_after_s: float | None = None
        self._tls = tls
        self._forget_connection()
        in_children(self._forget_connection)

    def _forget_connection(self) -> None:
        # Not closed: in a forked child it is the parent's, and a TLS goodbye would end it for both.
        self._connection: _Connection | _TlsConnection | None = None
        self._head: _Head | None = None  # of the last request that went through it
        self._proxy: SplitResult | None = None  # that it leads through
        self._lock = allocate_lock()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
        data: bytes | None = None,
    ) -> BaseHTTPResult:
        """Send one request and wait `timeout` seconds for its answer; whatever fails is in the result."""
        deadline_s = time.monotonic() + (_DEFAULT_TIMEOUT_S if timeout is None else timeout)
        with self._lock:
            is_kept = self._connection is not None
            result = self._try(method, url, headers or {}, data, deadline_s)
            if is_kept and isinstance(result.error, _CLOSED):  # by the collector, in the meantime
                result = self._try(method, url, headers or {}, data, deadline_s)
        return result

    def is_connection_error(self, exception: Exception | None) -> bool:  # noqa: ARG002 - the SDK's signature
        """Say no, for the SDK would wait and try again: that is left to the queue, which has `retry_after_s` for it."""
        return False

    def close(self) -> None:
        """Leave the connection to the end of the process: a request may still be under way in it."""

    def _try(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None, deadline_s: float
    ) -> HttpResult:
        self.retry_after_s = None
        try:
            return self._exchange(method, url, headers, data, deadline_s)
        except (OSError, ValueError, LookupError, http.client.HTTPException) as error:
            self._drop_connection()
            if not isinstance(error, (ValueError, LookupError, ssl.SSLError)):
                self.retry_after_s = 0.0
            return HttpResult(error=error)

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None, deadline_s: float
    ) -> HttpResult:
        sock = None if self._connection is None else self._connection.sock
        if sock is not None and data is not None and self._head is not None and self._head.fits(method, url, headers):
            return self._exchange_again(sock, self._head, data, deadline_s)
        parts = urlsplit(url)
        if self._connection is None:
            self._proxy = _proxy_of(parts)
            self._connection = _connect(parts, self._proxy, self._tls)
        connection = self._connection
        connection.timeout = _left_s(deadline_s)
        if connection.sock is not None:
            connection.sock.settimeout(connection.timeout)
        connection.set_debuglevel(0)  # a host that debugs its own would find ours on its stdout
        connection.response_class = partial(_BoundedResponse, deadline_s, b"")  # type: ignore[assignment]
        target = url if self._proxy is not None and parts.scheme == "http" else _target(parts)
        connection.sent_head = None
        connection.request(method, target, data, {"Accept-Encoding": "identity", **headers})
        self._head = _head_of(connection.sent_head, method, url, headers, data)
        return self._result_of(connection.getresponse())

    def _exchange_again(self, sock: Any, head: "_Head", data: bytes, deadline_s: float) -> HttpResult:
        """Send what is like the last request but for its data, in one piece, and read an answer that comes so too."""
        sock.settimeout(_left_s(deadline_s))
        sock.sendall(b"%b%d%b%b" % (head.before_length, len(data), head.after_length, data))
        sock.settimeout(_left_s(deadline_s))
        received: bytes = sock.recv(_USUAL_RESPONSE_BYTES)
        if not received:
            raise http.client.RemoteDisconnected("the collector has closed the connection")
        if (answer := _PLAIN_ANSWER.match(received)) and _is_whole(answer[3].lower(), len(received) - answer.end()):
            return HttpResult(int(answer[1]), answer[2].decode("latin-1"))
        with closing(_BoundedResponse(deadline_s, received, sock, method=head.method)) as response:
            response.begin()
            return self._result_of(response)

    def _result_of(self, response: http.client.HTTPResponse) -> HttpResult:
        if response.status in _REDIRECTS:
            raise ValueError(f"the collector redirects to {response.headers.get('location', '')[:200]!r}")
        try:
            response.read()
        except (OSError, http.client.HTTPException):  # the status has been said; only the connection is spent
            self._drop_connection()
        if response.will_close:
            self._drop_connection()
        if response.status in _RETRYABLE:
            self.retry_after_s = _seconds(response.headers.get("retry-after"))
            return HttpResult(error=ConnectionRefusedError(f"{response.status} {response.reason}"))
        return HttpResult(response.status, response.reason, None, response.headers)

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _HeadKept(http.client.HTTPConnection):
    """Keeps the head of a request as it was sent: the first that is sent since `sent_head` was set to None."""

    sent_head: bytes | None = None

    def send(self, data: Any) -> None:
        if self.sent_head is None:
            self.sent_head = bytes(data)
        super().send(data)


class _Connection(_HeadKept):
    pass


class _TlsConnection(_HeadKept, http.client.HTTPSConnection):
    pass


class _Head(NamedTuple):
    """The head of a request, which says the length of its data in between; the next one differs in that alone."""

    method: str
    url: str
    headers: Mapping[str, str]
    before_length: bytes
    after_length: bytes

    def fits(self, method: str, url: str, headers: Mapping[str, str]) -> bool:
        return self.method == method and self.url == url and self.headers == headers


def _head_of(sent: bytes | None, method: str, url: str, headers: Mapping[str, str], data: bytes | None) -> _Head | None:
    if not sent or data is None or any(name.lower() in _OWN_LENGTH for name in headers):
        return None
    before, mark, after = sent.partition(b"\r\nContent-Length: %d\r\n" % len(data))
    return _Head(method, url, dict(headers), before + b"\r\nContent-Length: ", b"\r\n" + after) if mark else None


def _is_whole(fields: bytes, body_bytes: int) -> bool:
    """Tell whether an answer with these header fields, in lower case, ends here and leaves the connection open."""
    length = _LENGTH.search(fields)
    is_plain = length is not None and b"transfer-encoding" not in fields and b"close" not in fields
    return is_plain and length is not None and int(length[1]) == body_bytes


class _BoundedReader(RawIOBase):
    """Reads a socket until a moment and a size: a socket's own timeout starts again with every byte.

    `received` has already been read from it.
    """

    def __init__(self, sock: Any, deadline_s: float, received: bytes) -> None:
        self._sock = sock
        self._received = received
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline_s = deadline_s
        self._left_bytes = _MOST_RESPONSE_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._left_bytes <= 0:
            raise http.client.HTTPException("the answer is longer than 4 MiB")
        count: int | None = min(len(self._received), len(buffer))
        if count:
            buffer[:count] = self._received[:count]
            self._received = self._received[count:]
        else:
            self._sock.settimeout(_left_s(self._deadline_s))
            count = self._raw.readinto(memoryview(buffer)[: self._left_bytes])
        self._left_bytes -= count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    def __init__(self, deadline_s: float, received: bytes, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = BufferedReader(_BoundedReader(sock, deadline_s, received))


def _left_s(deadline_s: float) -> float:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("the collector took too long")
    return left_s


def _seconds(retry_after: str | None) -> float:
    """Read a Retry-After header: seconds or a date, bounded, and 0 when it is neither."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), _LONGEST_RETRY_S))
    try:
        date = parsedate_to_datetime(text)
        return min(max(date.timestamp() - time.time(), 0.0), _LONGEST_RETRY_S)
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _proxy_of(parts: SplitResult) -> SplitResult | None:
    """Return the proxy that the standard variables name for this URL; a loopback collector never has one."""
    host = parts.hostname or ""
    proxy = getproxies_environment().get(parts.scheme)
    if not proxy or _is_loopback(host) or proxy_bypass_environment(parts.netloc.rpartition("@")[2]):
        return None
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _connect(parts: SplitResult, proxy: SplitResult | None, tls: Tls) -> _Connection | _TlsConnection:
    next_hop = proxy or parts
    if not next_hop.hostname:
        raise ValueError(f"{next_hop.geturl()[:200]!r} names no host")
    if parts.scheme != "https":
        return _Connection(next_hop.hostname, next_hop.port)
    connection = _TlsConnection(next_hop.hostname, next_hop.port, context=tls.context())
    if proxy is not None and parts.hostname:
        connection.set_tunnel(parts.hostname, parts.port)
    return connection
