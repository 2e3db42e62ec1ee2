"""Sends OTLP requests over HTTP in protobuf encoding, one at a time, over one kept connection."""

from __future__ import annotations

import contextlib
import email.utils
import gzip
import http.client
import socket
import ssl
import time
from importlib.metadata import version
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from apm_collector.config_exporters import OtlpExporterConfig
from apm_collector.errors import PermanentError, TransientError
from apm_collector.exporters.otlp_outcome import Outcome, read_response
from apm_collector.log_text import printable
from apm_store.model import Signal

MAX_RESPONSE_BYTES = 4 * 1024 * 1024  # what OTLP recommends
_RETRYABLE = frozenset({429, 502, 503, 504})
_READ_BYTES = 64 * 1024


class HttpTransport:
    """A connection to one OTLP/HTTP endpoint; it follows no redirect and asks no proxy."""

    def __init__(self, config: OtlpExporterConfig) -> None:
        self._config = config
        url = urlsplit(config.endpoint)
        self._path = url.path.rstrip("/")
        host, port = url.hostname or "", url.port
        self._connection: http.client.HTTPConnection
        if url.scheme == "https":
            context = ssl.create_default_context()
            if config.is_insecure:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self._connection = http.client.HTTPSConnection(host, port, timeout=config.timeout_s, context=context)
        else:
            self._connection = http.client.HTTPConnection(host, port, timeout=config.timeout_s)
        self._headers: dict[str, str | bytes] = {
            "Content-Type": "application/x-protobuf",
            "User-Agent": f"spanwise-collector/{version('spanwise')}",
            **({"Content-Encoding": "gzip"} if config.is_compressed else {}),
            **{name: value.encode() for name, value in config.headers.items()},
        }

    def send(self, signal: Signal, body: bytes) -> Outcome:
        """Send one request and give what the backend made of it.

        Raises PermanentError when the backend refuses it for good, TransientError when it may take it later.
        """
        data = gzip.compress(body, compresslevel=1, mtime=0) if self._config.is_compressed else body
        was_open = self._connection.sock is not None
        try:
            try:
                response = self._request(signal, data)
            except (OSError, http.client.HTTPException) as error:
                if not was_open or isinstance(error, TimeoutError):
                    raise
                self.close()  # a backend may close a connection that nothing has passed for a while
                response = self._request(signal, data)
            return self._outcome(signal, response)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise TransientError(f"no answer: {error or type(error).__name__}", retry_after_s=0) from error

    def close(self) -> None:
        """Close the connection; a `send` under way in another thread then fails. The next one connects again."""
        sock = self._connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _request(self, signal: Signal, data: bytes) -> http.client.HTTPResponse:
        self._connection.request("POST", f"{self._path}/v1/{signal.value}", data, self._headers)
        return self._connection.getresponse()

    def _outcome(self, signal: Signal, response: http.client.HTTPResponse) -> Outcome:
        body = self._read(response)
        if 200 <= response.status < 300:
            return read_response(signal, body)
        text = f"{response.status} {printable(response.reason)}{_message(body)}"
        if response.status in _RETRYABLE:
            raise TransientError(text, retry_after_s=retry_after_s(response.getheader("Retry-After"), time.time()))
        raise PermanentError(text)

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """The body as far as it is within its limits; a connection with more to come is closed."""
        deadline_s = time.monotonic() + self._config.timeout_s
        body = bytearray()
        while part := response.read1(_READ_BYTES):
            body += part
            if len(body) > MAX_RESPONSE_BYTES or time.monotonic() > deadline_s:
                self.close()
                return b""
        response.close()  # it is read to its end, so that the connection can take the next request
        if response.will_close:
            self.close()
        return bytes(body)


def retry_after_s(value: str | None, now_s: float) -> int:
    """The seconds that a Retry-After header asks for, as a number or as a date; 0 when it asks for nothing sensible."""
    if value is None:
        return 0
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return int(value[:9])
    try:
        return max(0, int(email.utils.parsedate_to_datetime(value).timestamp() - now_s + 1))
    except (ValueError, OverflowError):
        return 0


def _message(body: bytes) -> str:
    """What the Status in an answer says, after a colon; "" when it holds none."""
    with contextlib.suppress(DecodeError):
        if message := status_pb2.Status.FromString(body).message:
            return f": {printable(message)}"
    return ""
