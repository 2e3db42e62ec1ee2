"""FastAPI: a SERVER span per request, named after its route."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from wrapt import wrap_function_wrapper

from otel_agent.guard import guard


def instrument(library: ModuleType) -> None:
    """Trace every application made from now on, through whichever name its class was imported."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    def init(wrapped: Callable[..., None], app: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        wrapped(*args, **kwargs)
        with guard("trace an application"):
            FastAPIInstrumentor.instrument_app(app, exclude_spans=["receive", "send"])
            _switch_own_telemetry_off(app)

    wrap_function_wrapper(library, "FastAPI.__init__", init)


def _switch_own_telemetry_off(app: Any) -> None:
    """Spare FastAPI (0.142 and newer) from finding out, on every request, that its own telemetry has to step aside.

    That knows nothing of OTEL_PYTHON_FASTAPI_EXCLUDED_URLS, makes spans of inner steps, and, with
    FASTAPI_OTEL_AUTO_CONFIGURE, sends everything to the collector once more.
    """
    own = getattr(app, "_telemetry", None)
    if isinstance(own, dict):
        own.update(tracing=False, metrics=False, logs=False)
