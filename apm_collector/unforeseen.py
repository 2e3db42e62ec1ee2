"""What becomes of an exception that nobody foresaw: the sender keeps its data, and the log has the traceback."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from apm_collector.errors import TransientError
from apm_store.model import Signal

_QUIET_S = 60.0
_log = logging.getLogger(__name__)


class UnforeseenError(TransientError):
    """The collector made a mistake, which its log tells of; try again."""

    reason = "failure"

    def __init__(self) -> None:
        super().__init__(retry_after_s=5)  # it may well fail again


class MistakeLog:
    """Logs exceptions with their tracebacks, each type at most once a minute; safe from any thread."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._last_s: dict[type[Exception], float] = {}
        self._lock = threading.Lock()

    def add(self, signal: Signal, error: Exception) -> None:
        """Log an exception that a request of this signal met."""
        now_s = self._monotonic_s()
        with self._lock:
            if now_s - self._last_s.get(type(error), -_QUIET_S) < _QUIET_S:
                return
            self._last_s[type(error)] = now_s
        _log.error("A %s request met a mistake of the collector; its sender keeps it", signal.value, exc_info=error)
