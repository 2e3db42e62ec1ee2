"""Celery: a PRODUCER span per task sent and a CONSUMER span per task run, in one trace."""

import sys
from types import FrameType, ModuleType
from typing import Any

from otel_agent.flush import flush
from otel_agent.guard import guard

_IS_OVER = "GeventDidPatchAllEvent"


def instrument(_library: ModuleType) -> None:
    """Trace every task, from now on or, while gevent patches all modules, from the end of that on.

    While gevent patches it looks at every object there is, and so wakes what Celery imports lazily. Loading the worker
    then would leave it with the unpatched `select`: it would wait with all of its greenlets, for ever.
    """
    if _is_being_patched():
        sys.modules["gevent.events"].subscribers.append(_hear)
    else:
        _instrument()


def _is_being_patched() -> bool:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("gevent.monkey"):
            return True
        frame = frame.f_back
    return False


def _hear(event: object) -> None:
    if type(event).__name__ == _IS_OVER:
        sys.modules["gevent.events"].subscribers.remove(_hear)
        _instrument()


def _instrument() -> None:
    """Trace every task; the processes of a pool send what they still have when they end, which they do abruptly."""
    with guard("instrument celery"):
        from celery import signals  # type: ignore[import-untyped]
        from opentelemetry.instrumentation.celery import CeleryInstrumentor

        CeleryInstrumentor().instrument()  # type: ignore[no-untyped-call]  # the library left it unannotated
        signals.worker_process_shutdown.connect(_flush_pool_process, weak=False)


def _flush_pool_process(**_signal: Any) -> None:
    flush()
