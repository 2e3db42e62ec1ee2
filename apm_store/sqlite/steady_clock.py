"""The time by which age is counted: a clock that is put forward makes nothing old."""

from __future__ import annotations

import time

SETTLE_S = 600.0
"""How long we must have run: a clock that was wrong when the machine started is right by then."""


class SteadyClock:
    """Goes by the clock of the machine, as far as that moves no faster than time does."""

    def __init__(self) -> None:
        self._start_ns, self._start_s = time.time_ns(), time.monotonic()

    def now_ns(self) -> int:
        """Nanoseconds since 1970, by what the clock said at the start or by what it says now, whichever is less."""
        return min(time.time_ns(), self._start_ns + int(self._running_s() * 1e9))

    def is_settled(self) -> bool:
        """Whether something may be deleted for its age."""
        return self._running_s() >= SETTLE_S

    def _running_s(self) -> float:
        return time.monotonic() - self._start_s
