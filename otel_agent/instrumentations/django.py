"""Django, WSGI and ASGI: a SERVER span per request, named after its route."""

from collections.abc import Awaitable, Callable
from types import ModuleType, SimpleNamespace
from typing import Any

from wrapt import wrap_function_wrapper

from otel_agent.guard import guard

# What a request is taken to have been answered with when its handler raised.
_NO_RESPONSE = SimpleNamespace(status_code=500, reason_phrase="", items=dict)


def instrument(library: ModuleType) -> None:
    """Trace the requests of every handler from the first one on that gets ready, those of the test client included.

    The official middleware is put around the handlers. Among the host's own, where it stands otherwise, it needs
    settings that are not there yet when Django is imported, and makes all requests of an ASGI server wait for one
    thread.
    """
    is_ready = False

    def load_middleware(wrapped: Callable[..., None], _handler: Any, args: tuple[Any, ...], kwargs: Any) -> None:
        nonlocal is_ready
        if not is_ready:
            is_ready = True
            with guard("instrument django"):
                _trace_handlers(library)
        wrapped(*args, **kwargs)

    wrap_function_wrapper(library, "BaseHandler.load_middleware", load_middleware)


def _trace_handlers(library: ModuleType) -> None:
    import opentelemetry.instrumentation.django as official

    official.settings = SimpleNamespace(MIDDLEWARE=[])  # type: ignore[attr-defined]  # the host's are not even loaded
    official.DjangoInstrumentor().instrument()
    tracing = official._DjangoMiddleware(None)  # type: ignore[attr-defined, no-untyped-call]  # neither exported nor typed
    if tracing._tracer is None:  # OTEL_PYTHON_DJANGO_INSTRUMENT=False
        return
    tracing._get_span_name = _method_of  # the route is known after the request, without resolving the path twice

    def get_response(wrapped: Callable[..., Any], _handler: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        request, response = _begin(tracing, *args, **kwargs), None
        try:
            response = wrapped(*args, **kwargs)
        finally:
            _end(tracing, request, response)
        return response

    async def get_response_async(
        wrapped: Callable[..., Awaitable[Any]], _handler: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        request, response = _begin(tracing, *args, **kwargs), None
        try:
            response = await wrapped(*args, **kwargs)
        finally:
            _end(tracing, request, response)
        return response

    def process_exception(wrapped: Callable[..., Any], _handler: Any, args: tuple[Any, ...], _kwargs: Any) -> Any:
        exception, request = args
        with guard("keep the exception of a request"):
            tracing.process_exception(request, exception)
        return wrapped(exception, request)

    wrap_function_wrapper(library, "BaseHandler.get_response", get_response)
    wrap_function_wrapper(library, "BaseHandler.get_response_async", get_response_async)
    wrap_function_wrapper(library, "BaseHandler.process_exception_by_middleware", process_exception)


def _method_of(request: Any) -> str:
    from opentelemetry.util.http import sanitize_method

    method = sanitize_method(request.method)
    return "HTTP" if method is None or method == "_OTHER" else method


def _begin(tracing: Any, request: Any) -> Any:
    with guard("start the span of a request"):
        tracing.process_request(request)
    return request


def _end(tracing: Any, request: Any, response: Any) -> None:
    with guard("end the span of a request"):
        span = request.META.get(tracing._environ_span_key)
        if span is None:
            return
        if request.resolver_match is not None:
            route = "/" + (request.resolver_match.route or "").lstrip("^/")
            span.set_attribute("http.route", route)
            span.update_name(f"{_method_of(request)} {route}")
            request.META[tracing._environ_duration_attr_key]["http.route"] = route
        tracing.process_response(request, _NO_RESPONSE if response is None else response)
