"""Celery: a PRODUCER span per task sent and a CONSUMER span per task run, in one trace."""

from types import ModuleType
from typing import Any

from otel_agent.flush import flush

NAME = "celery"
# Not "celery": when that is imported, gevent and eventlet have not patched the standard library yet.
LIBRARY = "celery.app.base"


def instrument(_library: ModuleType) -> None:
    """Trace every task; the processes of a pool send what they still have when they end, which they do abruptly."""
    from celery import signals  # type: ignore[import-untyped]
    from opentelemetry.instrumentation.celery import CeleryInstrumentor

    def flush_pool_process(**_signal: Any) -> None:
        flush()

    CeleryInstrumentor().instrument()  # type: ignore[no-untyped-call]  # the library left it unannotated
    signals.worker_process_shutdown.connect(flush_pool_process, weak=False)
