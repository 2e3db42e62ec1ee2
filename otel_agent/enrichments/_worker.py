"""A background thread that works while there is something to watch, and sleeps for good while there is not."""

from collections.abc import Callable

from otel_agent.background import BackgroundThread
from otel_agent.forks import in_children
from otel_agent.guard import guard

_PARKED_S = 3600.0


class Worker:
    """Calls `tick()`, waits for the seconds it returns, and parks when it returns None.

    `is_idle` tells that nobody looks: whoever makes work calls `wake()` then, and only then. The flag is up while a
    tick runs, so that no work is overlooked which begins while the tick looks for it; a tick may thus come early.
    """

    def __init__(self, name: str, tick: Callable[[], float | None]) -> None:
        self._name, self._tick = name, tick
        self._rest()
        in_children(self._rest)
        self._thread = BackgroundThread(name, self._step, lambda: not self.is_idle)

    def _rest(self) -> None:
        self.is_idle = True

    def wake(self) -> None:
        """Tick soon; starts the thread if there is none. Never raises."""
        self.is_idle = False
        with guard(f"start the thread {self._name}"):
            self._thread.start()
            self._thread.wake()

    def _step(self, _is_last: bool) -> float:
        self.is_idle = True
        delay_s = self._tick()
        if delay_s is None:
            return _PARKED_S
        self.is_idle = False
        return delay_s
