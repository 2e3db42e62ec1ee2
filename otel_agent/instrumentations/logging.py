"""Logging: every log record of the host as an OTLP log record too, inside the trace it was written in."""

import threading
from _thread import get_ident
from collections.abc import Callable
from types import ModuleType
from typing import Any

from opentelemetry.instrumentation.logging import LoggingInstrumentor
from wrapt import wrap_function_wrapper

from otel_agent.background import BACKGROUND_THREADS, SDK_THREAD_PREFIX
from otel_agent.diagnostics import LOGGER_NAMES
from otel_agent.guard import guard
from otel_agent.log_records import settled_copy


def instrument(library: ModuleType) -> None:
    """Send log records without touching the root logger's handlers.

    A handler there would silence hosts that have not configured logging: `logging.basicConfig` and Python's handler of
    last resort act only while the root logger has none.
    """
    instrumentor = LoggingInstrumentor()
    instrumentor.instrument()
    handler = instrumentor._logging_handler
    if handler is None:  # OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION=false
        return
    library.getLogger().removeHandler(handler)
    # logging flushes every handler at exit, this one by a thread, which Python 3.12 then refuses with a traceback.
    # The provider sends what is left by itself.
    handler.flush = lambda: None

    def call_handlers(wrapped: Callable[..., None], logger: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        is_ours = logger.name.partition(".")[0] in LOGGER_NAMES
        if not is_ours and _is_background():
            return  # the exporter's own connections are no business of the host's console
        wrapped(*args, **kwargs)
        record = args[0]
        if not is_ours and record.levelno >= handler.level:
            with guard("send a log record"):
                handler.handle(settled_copy(record))

    wrap_function_wrapper(library, "Logger.callHandlers", call_handlers)


def _is_background() -> bool:
    """Whether this thread is the agent's or the SDK's."""
    return get_ident() in BACKGROUND_THREADS or threading.current_thread().name.startswith(SDK_THREAD_PREFIX)
