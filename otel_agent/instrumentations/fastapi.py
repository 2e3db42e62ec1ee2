"""FastAPI: a SERVER span per request, named after its route."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from wrapt import wrap_function_wrapper

from otel_agent.guard import guard


def instrument(library: ModuleType) -> None:
    """Trace every application made from now on, through whichever name its class was imported.

    FastAPI's own telemetry (0.142 and newer) steps aside, and with it the spans that it makes of its inner steps; it
    knows nothing of OTEL_PYTHON_FASTAPI_EXCLUDED_URLS.
    """
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    def init(wrapped: Callable[..., None], app: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        wrapped(*args, **kwargs)
        with guard("trace an application"):
            FastAPIInstrumentor.instrument_app(app, exclude_spans=["receive", "send"])

    wrap_function_wrapper(library, "FastAPI.__init__", init)
