"""Requests over ASGI as the official middleware traces them, without looking each thing up several times.

Only HTTP under the stable conventions and without spans for each message is taken over; the official middleware does
the rest.
"""

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled
from opentelemetry.trace import SpanKind

from otel_agent.current_context import get_current
from otel_agent.lean_http import (
    METHODS,
    Activation,
    active_dimensions,
    add_user_agent,
    dimensions,
    number_of,
    set_status,
    start_span,
)

_LENGTH = b"content-length"
_WANTED = frozenset({b"user-agent", b"traceparent", b"baggage"})


def install(official: Any) -> None:
    """Change what the package does from now on; AttributeError where it has other parts."""
    official.ASGIGetter.get = _getter(official._decode_header_item)
    official.OpenTelemetryMiddleware.__call__ = _call(official, official.OpenTelemetryMiddleware.__call__)


def _getter(decode: Callable[[bytes], str]) -> Callable[..., list[str] | None]:
    """Return what looks a header up; the official method decodes all of them for each one that it looks for."""

    def get(_self: Any, carrier: dict[str, Any], key: str) -> list[str] | None:
        wanted = key.lower().encode()
        length = len(wanted)
        headers = carrier.get("headers") or ()
        return [decode(value) for name, value in headers if len(name) == length and name.lower() == wanted] or None

    return get


def _call(official: Any, fallback: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    stable = official._StabilityMode.HTTP

    async def call(self: Any, scope: Any, receive: Any, send: Any) -> None:
        is_usual = self._sem_conv_opt_in_mode is stable and self.exclude_receive_span and self.exclude_send_span
        if scope["type"] != "http" or not is_usual or _is_off():
            await fallback(self, scope, receive, send)
        elif _is_excluded(official, self, scope):
            await self.app(scope, receive, send)
        else:
            await _trace(official, self, scope, receive, send)

    return call


def _is_off() -> bool:
    """Tell whether the host has switched tracing off where it calls the application: in what is current there."""
    return bool(get_current()) and not is_http_instrumentation_enabled()


def _is_excluded(official: Any, middleware: Any, scope: Any) -> bool:
    excluded = middleware.excluded_urls
    if not excluded or not excluded._excluded_urls:
        return False
    return bool(excluded.url_disabled(official.get_host_port_url_tuple(scope)[2]))


async def _trace(official: Any, middleware: Any, scope: Any, receive: Any, send: Any) -> None:
    start_s = perf_counter()
    name, more = middleware.default_span_details(scope)
    wanted = [(key, value) for name, value in scope.get("headers") or () if (key := name.lower()) in _WANTED]
    attributes = _attributes(official, scope, wanted)
    attributes.update(more)
    may_have_caller = any(key != b"user-agent" for key, _ in wanted)
    span, outer = start_span((middleware.tracer, name, None), scope, official.asgi_getter, attributes, may_have_caller)
    active = active_dimensions(attributes)
    middleware.active_requests_counter.add(1, active, context=outer)
    activation = Activation(span, outer)
    try:
        with activation:
            _tell(official, middleware, span, scope)
            await middleware.app(scope, receive, _Answer(official, middleware, span, send, attributes).send)
    finally:
        middleware.active_requests_counter.add(-1, active, context=outer)
        _measure(middleware, scope, dimensions(attributes), activation.context, perf_counter() - start_s)
        if span.is_recording():
            span.end()


class _Answer:
    """Sends the messages of one response, and writes on the span what they tell."""

    __slots__ = ("_attributes", "_middleware", "_official", "_send", "_span")

    def __init__(self, official: Any, middleware: Any, span: Any, send: Any, attributes: dict[str, Any]) -> None:
        self._official, self._middleware, self._span = official, middleware, span
        self._send, self._attributes = send, attributes

    async def send(self, message: Any) -> None:
        """Stand in for the server's `send`."""
        is_body, propagator = message["type"] == "http.response.body", self._official.get_global_response_propagator()
        if not is_body or "headers" in message:
            self._read(message)
        if propagator:
            context = trace.set_span_in_context(self._span, Context())
            propagator.inject(message, context=context, setter=self._official.asgi_setter)
        await self._send(message)
        if is_body and not message.get("more_body", False):
            self._span.end()

    def _read(self, message: Any) -> None:
        official, middleware, span = self._official, self._middleware, self._span
        wanted = middleware.http_capture_headers_server_response
        if wanted and "headers" in message and span.is_recording() and span.kind is SpanKind.SERVER:
            normalise = official.normalise_response_header_name
            sanitize = middleware.http_capture_headers_sanitize_fields
            span.set_attributes(official.collect_custom_headers_attributes(message, sanitize, wanted, normalise))
        status = message["status"] if message["type"] == "http.response.start" else None
        if type(status) is int and status > 0:
            set_status(span, self._attributes, status)
        elif status:
            official.set_status_code(span, status, self._attributes, middleware._sem_conv_opt_in_mode)
        length = _content_length(message)
        if length is not None:
            middleware.content_length_header = length


def _attributes(official: Any, scope: Any, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    """Return what the official function collects of a request, in the same order; of the headers some are given."""
    if scope.get("method") not in METHODS:
        return official.collect_request_attributes(scope, official._StabilityMode.HTTP)  # type: ignore[no-any-return]
    get, attributes = scope.get, {}
    address, port = (get("server") or ("0.0.0.0", 80))[:2]  # noqa: S104 - what the official function takes
    if scheme := get("scheme"):
        attributes["url.scheme"] = scheme
    attributes["server.address"] = address if str(port) == "80" else f"{address}:{port}"
    if number := number_of(port):
        attributes["server.port"] = number
    if version := get("http_version"):
        attributes["network.protocol.version"] = version
    if path := get("path"):
        attributes["url.path"] = path
        if query := get("query_string"):
            attributes["url.query"] = query.decode("utf-8", "replace") if isinstance(query, bytes) else query
    attributes["http.request.method"] = scope["method"]
    add_user_agent(attributes, next((official._decode_header_item(v) for k, v in headers if k == b"user-agent"), None))
    if client := get("client"):
        if client[0]:
            attributes["client.address"] = client[0]
        if number := number_of(client[1]):
            attributes["client.port"] = number
    return attributes


def _content_length(message: Any) -> int | None:
    """Return what the header says of a request or response."""
    for name, value in message.get("headers") or ():
        if len(name) == len(_LENGTH) and name.lower() == _LENGTH:
            return int(value) if value.isdigit() else None
    return None


def _tell(official: Any, middleware: Any, span: Any, scope: Any) -> None:
    """Add the headers that the user wants to have, and call the hook."""
    wanted = middleware.http_capture_headers_server_request
    if wanted and span.is_recording() and span.kind is SpanKind.SERVER:
        sanitize, normalise = middleware.http_capture_headers_sanitize_fields, official.normalise_request_header_name
        span.set_attributes(official.collect_custom_headers_attributes(scope, sanitize, wanted, normalise))
    if callable(middleware.server_request_hook):
        middleware.server_request_hook(span, scope)


def _measure(middleware: Any, scope: Any, dimensions: Any, context: Any, duration_s: float) -> None:
    middleware.duration_histogram_new.record(duration_s, dimensions, context=context)
    if middleware.content_length_header:
        middleware.server_response_body_size_histogram.record(
            middleware.content_length_header, dimensions, context=context
        )
    size = _content_length(scope)
    if size is not None:
        middleware.server_request_body_size_histogram.record(size, dimensions, context=context)
