"""pymemcache: a CLIENT span per command."""

from types import ModuleType


def instrument(_library: ModuleType) -> None:
    """Trace every client, those that exist already included."""
    from opentelemetry.instrumentation.pymemcache import PymemcacheInstrumentor

    PymemcacheInstrumentor().instrument()
