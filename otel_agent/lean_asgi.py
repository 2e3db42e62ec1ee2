"""Requests over ASGI as the official middleware traces them, without setting every attribute twice.

Only HTTP under the stable conventions is taken over; the official middleware does the rest.
"""

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled


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
        if scope["type"] != "http" or self._sem_conv_opt_in_mode is not stable or not is_http_instrumentation_enabled():
            await fallback(self, scope, receive, send)
            return
        start_s = perf_counter()
        if _is_excluded(official, self, scope):
            await self.app(scope, receive, send)
            return
        name, more = self.default_span_details(scope)
        attributes = official.collect_request_attributes(scope, stable) | more
        span, token = official._start_internal_or_server_span(
            tracer=self.tracer,
            span_name=name,
            start_time=None,
            context_carrier=scope,
            context_getter=official.asgi_getter,
            attributes=attributes,
        )
        active = official._parse_active_request_count_attrs(attributes, stable)
        self.active_requests_counter.add(1, active)
        try:
            with trace.use_span(span, end_on_exit=False):
                _tell(official, self, span, scope)
                otel_send = self._get_otel_send(span, name, scope, send, attributes)
                await self.app(scope, self._get_otel_receive(name, scope, receive), otel_send)
        finally:
            self.active_requests_counter.add(-1, active)
            _measure(official, self, span, scope, attributes, perf_counter() - start_s)
            if token:
                otel_context.detach(token)
            if span.is_recording():
                span.end()

    return call


def _is_excluded(official: Any, middleware: Any, scope: Any) -> bool:
    excluded = middleware.excluded_urls
    if not excluded or not excluded._excluded_urls:
        return False
    return bool(excluded.url_disabled(official.get_host_port_url_tuple(scope)[2]))


def _tell(official: Any, middleware: Any, span: Any, scope: Any) -> None:
    """Add the headers that the user wants to have, and call the hook."""
    wanted = middleware.http_capture_headers_server_request
    if wanted and span.is_recording() and span.kind is trace.SpanKind.SERVER:
        sanitize, normalise = middleware.http_capture_headers_sanitize_fields, official.normalise_request_header_name
        span.set_attributes(official.collect_custom_headers_attributes(scope, sanitize, wanted, normalise))
    if callable(middleware.server_request_hook):
        middleware.server_request_hook(span, scope)


def _measure(official: Any, middleware: Any, span: Any, scope: Any, attributes: Any, duration_s: float) -> None:
    dimensions = official._parse_duration_attrs(attributes, middleware._sem_conv_opt_in_mode)
    context = trace.set_span_in_context(span)
    middleware.duration_histogram_new.record(max(duration_s, 0), dimensions, context=context)
    if middleware.content_length_header:
        middleware.server_response_body_size_histogram.record(
            middleware.content_length_header, dimensions, context=context
        )
    size = official.asgi_getter.get(scope, "content-length")
    if size and size[0].isdecimal():
        middleware.server_request_body_size_histogram.record(int(size[0]), dimensions, context=context)
