"""Requests: a CLIENT span per request, and the trace context in its headers."""

from types import ModuleType


def instrument(_library: ModuleType) -> None:
    """Trace every session, those that exist already included."""
    from opentelemetry.instrumentation.requests import RequestsInstrumentor

    RequestsInstrumentor().instrument()
