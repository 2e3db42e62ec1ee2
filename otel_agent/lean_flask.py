"""Requests of Flask as the official instrumentation traces them, without looking each thing up several times.

Applications with excluded URLs, hooks of the host's, SQL comments or the old conventions have the official functions.
"""

import weakref
from collections.abc import Callable
from functools import cached_property
from time import perf_counter, time_ns
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from otel_agent.instrumentations.flask import name_without_route
from otel_agent.lean_http import (
    METHODS,
    ROUTE,
    Activation,
    active_dimensions,
    add_user_agent,
    dimensions,
    number_of,
    set_status,
    start_span,
)
from otel_agent.settings import captured_headers

# What has been collected of a request when it came in, until its span is made.
_COLLECTED = "spanwise.collected_attributes"

_Function = Callable[..., Any]


def install(official: Any) -> None:
    """Change what applications made from now on are traced by; AttributeError where the package has other parts."""
    if not official._excluded_urls_from_env._excluded_urls:
        official._excluded_urls_from_env = None  # or else the URL of every request is put together for nothing
    tracing = _Tracing(official)
    app = tracing.app_factory(official._rewrapped_app)
    before = tracing.before_request_factory(official._wrapped_before_request)
    teardown = tracing.teardown_request_factory(official._wrapped_teardown_request)
    official._rewrapped_app, official._wrapped_before_request = app, before
    official._wrapped_teardown_request = teardown


class _Activation(Activation):
    """The span of a request while it is the current one; the official function can end it too."""

    __slots__ = ("_is_over", "request_context")

    def __init__(self, span: Any, context: Context, request_context: "weakref.ref[Any]") -> None:
        super().__init__(span, context)
        self.request_context, self._is_over = request_context, False

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """End the span, once."""
        if not self._is_over:
            self._is_over = True
            super().__exit__(kind, error, trace)
            self.span.end()


class _Answer:
    """Stands in for the server's `start_response` in one request."""

    __slots__ = ("attributes", "is_traced", "start_response", "tracing")

    def __init__(self, tracing: "_Tracing", start_response: _Function, attributes: dict[str, Any]) -> None:
        self.tracing, self.start_response, self.attributes, self.is_traced = tracing, start_response, attributes, True

    def __call__(self, status: str, headers: list[tuple[str, str]], *args: Any, **kwargs: Any) -> Any:
        request = self.tracing.current_request()
        self.is_traced = request is not None
        if request is not None:
            self.tracing.tell(request, self.attributes, status, headers)
        return self.start_response(status, headers, *args, **kwargs)


class _Tracing:
    """The functions that trace an application, as the official package makes them."""

    def __init__(self, official: Any) -> None:
        self._official, self.wsgi, self.stable = official, official.otel_wsgi, official._StabilityMode.HTTP
        self._start_key, self._span_key = official._ENVIRON_STARTTIME_KEY, official._ENVIRON_SPAN_KEY
        self._activation_key = official._ENVIRON_ACTIVATION_KEY
        self._request = official.flask.request._get_current_object
        self._request_context = official._request_ctx_ref

    @cached_property
    def _captures_request(self) -> bool:
        return bool(captured_headers("REQUEST"))

    @cached_property
    def _captures_response(self) -> bool:
        return bool(captured_headers("RESPONSE"))

    def current_request(self) -> Any:
        """Return Flask's request; None outside of one."""
        try:
            return self._request()
        except RuntimeError:
            return None

    def app_factory(self, fallback: _Function) -> _Function:
        """Return what wraps an application, by the official one's parameters."""

        def factory(  # noqa: PLR0917 - the official parameters
            wsgi_app: _Function,
            active_requests_counter: Any,
            duration_histogram_old: Any = None,
            response_hook: Any = None,
            excluded_urls: Any = None,
            sem_conv_opt_in_mode: Any = None,
            duration_histogram_new: Any = None,
        ) -> _Function:
            if sem_conv_opt_in_mode is self.stable and not response_hook and not excluded_urls:
                return self._app(wsgi_app, active_requests_counter, duration_histogram_new)
            return fallback(  # type: ignore[no-any-return]
                wsgi_app,
                active_requests_counter,
                duration_histogram_old,
                response_hook,
                excluded_urls,
                sem_conv_opt_in_mode,
                duration_histogram_new,
            )

        return factory

    def _app(self, wsgi_app: _Function, active: Any, duration: Any) -> _Function:
        def app(environ: dict[str, Any], start_response: _Function) -> Any:
            environ[self._start_key] = time_ns()
            start_s = perf_counter()
            environ[_COLLECTED] = attributes = self._collect(environ)
            active_as = active_dimensions(attributes)
            active.add(1, active_as)
            answer = _Answer(self, start_response, attributes)
            try:
                result = wsgi_app(environ, answer)
                if answer.is_traced:
                    duration.record(perf_counter() - start_s, dimensions(attributes), context=self._context_of(environ))
                return result
            finally:
                active.add(-1, active_as)

        return app

    def _context_of(self, environ: dict[str, Any]) -> Context:
        activation = environ.get(self._activation_key)
        if type(activation) is _Activation:
            return activation.context
        return trace.set_span_in_context(environ.get(self._span_key))  # type: ignore[arg-type]  # as it is done officially

    def _collect(self, environ: dict[str, Any]) -> dict[str, Any]:
        if environ.get("REQUEST_METHOD") not in METHODS:
            return self.wsgi.collect_request_attributes(environ, self.stable)  # type: ignore[no-any-return]
        return _attributes(environ)

    def tell(self, request: Any, attributes: dict[str, Any], status: str, headers: list[tuple[str, str]]) -> None:
        """Write on the span of the request, and in its attributes, how it is answered."""
        official, span = self._official, request.environ.get(self._span_key)
        if request.url_rule is not None:
            attributes[ROUTE] = request.url_rule.rule
        propagator = official.get_global_response_propagator()
        if propagator:
            propagator.inject(headers, setter=self.wsgi.default_response_propagation_setter)
        if span is None:
            official._logger.warning("Flask environ's OpenTelemetry span missing at _start_response(%s)", status)
            return
        code, is_usual = status[:3], status[3:4] == " "
        if is_usual and code.isdecimal() and code > "000":
            set_status(span, attributes, int(code))
        else:
            self.wsgi.add_response_attributes(span, status, headers, attributes, self.stable)
        if self._captures_response and span.is_recording() and span.kind is SpanKind.SERVER:
            span.set_attributes(self.wsgi.collect_custom_response_headers_attributes(headers))

    def before_request_factory(self, fallback: _Function) -> _Function:
        """Return what makes the function that Flask calls before each request, by the official one's parameters."""

        def factory(
            request_hook: _Function | None = None,
            tracer: Any = None,
            excluded_urls: Any = None,
            enable_commenter: bool = True,
            commenter_options: Any = None,
            sem_conv_opt_in_mode: Any = None,
        ) -> _Function:
            is_ours = request_hook is None or request_hook is name_without_route
            if sem_conv_opt_in_mode is self.stable and is_ours and not excluded_urls and not enable_commenter:
                return lambda: self._before_request(tracer, request_hook is not None)
            return fallback(  # type: ignore[no-any-return]
                request_hook, tracer, excluded_urls, enable_commenter, commenter_options, sem_conv_opt_in_mode
            )

        return factory

    def _before_request(self, tracer: Any, is_named_by_method: bool) -> None:
        request_context = self._request_context()
        request = request_context().request
        environ, rule = request.environ, request.url_rule
        attributes = environ.pop(_COLLECTED, None)
        if attributes is None:  # a request that did not come through the application's `__call__`
            attributes = self._collect(environ)
        method = environ.get("REQUEST_METHOD")
        if rule is not None:
            attributes[ROUTE] = rule.rule
        if method not in METHODS or (rule is None and not is_named_by_method):
            name = self._official.get_default_span_name()
            name = name.partition(" ")[0] if rule is None and is_named_by_method else name
        else:
            name = method if rule is None else f"{method} {rule.rule}"
        may_have_caller = "HTTP_TRACEPARENT" in environ or "HTTP_BAGGAGE" in environ
        span, context = start_span(
            (tracer, name, environ.get(self._start_key)), environ, self.wsgi.wsgi_getter, attributes, may_have_caller
        )
        if self._captures_request and span.is_recording() and span.kind is SpanKind.SERVER:
            span.set_attributes(self.wsgi.collect_custom_request_headers_attributes(environ))
        environ[self._span_key] = span
        environ[self._activation_key] = activation = _Activation(span, context, request_context)
        activation.__enter__()

    def teardown_request_factory(self, fallback: _Function) -> _Function:
        """Return what makes the function that Flask calls after each request, by the official one's parameters."""

        def factory(excluded_urls: Any = None) -> _Function:
            official = fallback(excluded_urls)

            def teardown_request(error: BaseException | None) -> None:
                request_context = self._request_context()
                request = request_context().request
                activation = request.environ.get(self._activation_key)
                if type(activation) is not _Activation:
                    official(error)
                elif activation.request_context == request_context:  # and none that was copied from it
                    is_streaming = getattr(getattr(request, "response", None), "stream", None)
                    activation.__exit__(None, None if is_streaming else error, None)

            return teardown_request

        return factory


def _attributes(environ: dict[str, Any]) -> dict[str, Any]:
    """Return what the official function collects of a request with a method of METHODS, in the same order."""
    get = environ.get
    attributes: dict[str, Any] = {"http.request.method": environ["REQUEST_METHOD"]}
    remote, remote_name, port = get("REMOTE_ADDR"), get("REMOTE_HOST"), get("REMOTE_PORT")
    if scheme := get("wsgi.url_scheme"):
        attributes["url.scheme"] = scheme
    if host := get("HTTP_HOST"):
        attributes["server.address"] = host
    if server_port := number_of(get("SERVER_PORT")):
        attributes["server.port"] = server_port
    if get("REQUEST_URI") if (target := get("RAW_URI")) is None else target:
        if path := get("PATH_INFO"):
            attributes["url.path"] = path
        if query := get("QUERY_STRING"):
            attributes["url.query"] = query
    if remote:
        attributes["client.address"] = remote
    if client_port := number_of(port):
        attributes["client.port"] = client_port
    if remote_name and remote_name != remote:
        attributes["client.address"] = remote_name
    add_user_agent(attributes, get("HTTP_USER_AGENT"))
    protocol = get("SERVER_PROTOCOL", "")
    if version := protocol[5:] if protocol.upper().startswith("HTTP/") else protocol:
        attributes["network.protocol.version"] = version
    return attributes
