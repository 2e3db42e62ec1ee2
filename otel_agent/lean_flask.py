"""Requests of Flask as the official instrumentation traces them, without collecting and setting everything twice."""

from collections.abc import Callable
from typing import Any

from opentelemetry import trace

from otel_agent.settings import captured_headers

# What has been collected of a request when it came in, until its span is made.
_COLLECTED = "spanwise.collected_attributes"


def install(official: Any) -> None:
    """Change what applications made from now on are traced by; AttributeError where the package has other parts."""
    wsgi = official.otel_wsgi
    wsgi.collect_request_attributes = _keeping(wsgi.collect_request_attributes)
    wsgi.collect_custom_response_headers_attributes = _if_asked(
        "RESPONSE", wsgi.collect_custom_response_headers_attributes
    )
    wsgi.collect_custom_request_headers_attributes = _if_asked(
        "REQUEST", wsgi.collect_custom_request_headers_attributes
    )
    if not official._excluded_urls_from_env._excluded_urls:
        official._excluded_urls_from_env = None  # or else the URL of every request is put together for nothing
    official._wrapped_before_request = _before_request_factory(official, official._wrapped_before_request)


def _keeping(collect: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def collect_and_keep(environ: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        attributes = collect(environ, *args, **kwargs)
        environ[_COLLECTED] = dict(attributes)
        return attributes

    return collect_and_keep


def _if_asked(direction: str, collect: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    return lambda source: collect(source) if captured_headers(direction) else {}


def _before_request_factory(official: Any, fallback: Callable[..., Any]) -> Callable[..., Any]:
    """Return what makes the function that Flask calls before each request, by the official one's parameters."""
    wsgi = official.otel_wsgi

    def factory(
        request_hook: Callable[..., None] | None = None,
        tracer: Any = None,
        excluded_urls: Any = None,
        enable_commenter: bool = True,
        commenter_options: Any = None,
        sem_conv_opt_in_mode: Any = None,
    ) -> Any:
        if enable_commenter:
            return fallback(
                request_hook, tracer, excluded_urls, enable_commenter, commenter_options, sem_conv_opt_in_mode
            )

        def before_request() -> None:
            request = official.flask.request._get_current_object()
            environ, rule = request.environ, request.url_rule
            if excluded_urls and excluded_urls.url_disabled(request.url):
                return
            attributes = environ.pop(_COLLECTED, None)
            if attributes is None:  # a request that did not come through the application's `__call__`
                attributes = wsgi.collect_request_attributes(environ, sem_conv_opt_in_mode=sem_conv_opt_in_mode)
            if rule:
                attributes[official.HTTP_ROUTE] = rule.rule
            span, token = official._start_internal_or_server_span(
                tracer=tracer,
                span_name=official.get_default_span_name(),
                start_time=environ.get(official._ENVIRON_STARTTIME_KEY),
                context_carrier=environ,
                context_getter=wsgi.wsgi_getter,
                attributes=attributes,
            )
            if request_hook:
                request_hook(span, environ)
            if span.is_recording() and span.kind == trace.SpanKind.SERVER:
                headers = wsgi.collect_custom_request_headers_attributes(environ)
                if headers:
                    span.set_attributes(headers)
            activation = trace.use_span(span, end_on_exit=True)
            activation.__enter__()
            environ[official._ENVIRON_ACTIVATION_KEY] = activation
            environ[official._ENVIRON_REQCTX_REF_KEY] = official._request_ctx_ref()
            environ[official._ENVIRON_SPAN_KEY] = span
            environ[official._ENVIRON_TOKEN] = token

        return before_request

    return factory
