"""urllib3: a CLIENT span per request, unless a library on top of it has already made one."""

from types import ModuleType


def instrument(_library: ModuleType) -> None:
    """Trace every connection pool, those that exist already included."""
    from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor

    URLLib3Instrumentor().instrument()
