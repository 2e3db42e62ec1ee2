"""Starlette: a SERVER span per request, named after its route."""

from collections.abc import Callable, MutableMapping
from types import ModuleType
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span
from wrapt import wrap_function_wrapper

from otel_agent.guard import guard


def instrument(library: ModuleType) -> None:
    """Trace every application that has not begun to answer yet.

    The official instrumentor adds a middleware among the host's own: inside those added after it, and inside the one
    that answers 500, so that failed requests have no status.
    """
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.instrumentation.starlette import _excluded_urls, _get_default_span_details

    def build(wrapped: Callable[[], Any], _app: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Any:
        stack = wrapped()
        with guard("trace an application"):
            stack.app = _ExceptionRecorder(stack.app)
            return OpenTelemetryMiddleware(
                stack,
                excluded_urls=_excluded_urls,
                default_span_details=_get_default_span_details,
                server_request_hook=_claim,
                tracer=trace.get_tracer(__name__),
                exclude_spans=["receive", "send"],
            )
        return stack

    wrap_function_wrapper(library, "Starlette.build_middleware_stack", build)


class _ExceptionRecorder:
    """Stands inside the middleware that answers 500: when that has answered, the span is over."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with trace.use_span(trace.get_current_span(), end_on_exit=False):
            await self._app(scope, receive, send)


def _claim(_span: Span, scope: MutableMapping[str, Any]) -> None:
    scope["starlette.opentelemetry"] = True  # Starlette's own middleware, where the host uses it, then steps aside
