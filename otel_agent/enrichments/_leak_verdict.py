"""Whether the memory of a process grows and does not stop: the rule of Coroot's memory audit, for one process."""

from collections import deque
from collections.abc import Sequence

_SPACING_S = 30.0
_WINDOW_S = 3600.0
_LEAST_POINTS = 10
_LEAST_GROWTH_BYTES = 50 * 1024 * 1024
_HOUR_S = 3600.0

Point = tuple[float, float]  # monotonic seconds, bytes


class LeakVerdict:
    """Keeps an hour of readings, one every 30 s, and gives its verdict at most once an hour."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque(maxlen=int(_WINDOW_S / _SPACING_S))
        self._told_s = -_WINDOW_S

    def is_leak(self, now_s: float, resident_bytes: int) -> bool:
        """Take a reading; tell whether it completes a leak that has not been told within the hour."""
        if self._points and now_s - self._points[-1][0] < _SPACING_S:
            return False
        self._points.append((now_s, resident_bytes))
        if now_s - self._told_s < _WINDOW_S or growth_bytes_per_hour(self._points) < _LEAST_GROWTH_BYTES:
            return False
        self._told_s = now_s
        return True


def growth_bytes_per_hour(points: Sequence[Point]) -> float:
    """Return the fitted growth per hour, 0 unless it is steady.

    Steady means: the series since the last drop by half is a third of the window and ten points long; it rises; and its
    last quarter, 15 minutes at least, rises at 0.3 of the whole's slope or more (Coroot, auditor/memory.go).
    """
    run = _longest_run(list(points))
    if len(run) < _LEAST_POINTS or run[-1][0] - run[0][0] < _WINDOW_S / 3:
        return 0.0
    slope = _slope(run)
    tail_from_s = run[-1][0] - max(900.0, (run[-1][0] - run[0][0]) / 4)
    tail = [point for point in run if point[0] >= tail_from_s]
    if slope <= 0 or len(tail) < 5 or _slope(tail) < 0.3 * slope:
        return 0.0
    return slope * _HOUR_S


def _longest_run(points: list[Point]) -> list[Point]:
    """Split where the value falls below half of the one before, as caches that are emptied do; return the longest."""
    runs: list[list[Point]] = [[]]
    for point in points:
        if runs[-1] and point[1] < runs[-1][-1][1] / 2:
            runs.append([])
        runs[-1].append(point)
    return max(runs, key=len)


def _slope(points: list[Point]) -> float:
    """Fit a line by least squares; return its slope."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
