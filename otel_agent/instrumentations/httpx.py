"""HTTPX: a CLIENT span per request, and the trace context in its headers."""

from types import ModuleType


def instrument(_library: ModuleType) -> None:
    """Trace every client, those that exist already included."""
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    HTTPXClientInstrumentor().instrument()
