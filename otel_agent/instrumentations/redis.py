"""redis-py: a CLIENT span per command."""

from types import ModuleType


def instrument(_library: ModuleType) -> None:
    """Trace every client, those that exist already included."""
    from opentelemetry.instrumentation.redis import RedisInstrumentor

    RedisInstrumentor().instrument()
