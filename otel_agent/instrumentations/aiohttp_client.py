"""aiohttp's client: a CLIENT span per request, and the trace context in its headers."""

from types import ModuleType


def instrument(_library: ModuleType) -> None:
    """Trace every session opened from now on."""
    from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor

    AioHttpClientInstrumentor().instrument()
