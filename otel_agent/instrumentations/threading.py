"""Threads: work handed to a thread, a timer or an executor stays in its trace."""

from types import ModuleType

from opentelemetry.instrumentation.threading import ThreadingInstrumentor


def instrument(_library: ModuleType) -> None:
    """Carry the current context into threads started from now on."""
    ThreadingInstrumentor().instrument()
