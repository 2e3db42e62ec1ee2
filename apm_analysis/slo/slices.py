"""An objective's requests counted by slice of time: what every window, budget and projection is summed from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from apm_analysis.slo.objective import Objective
from apm_store.api import Store
from apm_store.query import HOUR_NS, MINUTE_NS, TimeRange

FINE_NS = 6 * HOUR_NS  # the longest window that is counted by minutes; longer ones are counted by hours
MIN_BAD = 10
MIN_REQUESTS = 100


@dataclass(frozen=True, slots=True)
class Slice:
    """The requests that started in `[start_ns, end_ns)`."""

    start_ns: int
    end_ns: int
    total: int
    bad: int


def count_slices(objective: Objective, store: Store, now_ns: int) -> list[Slice]:
    """The objective's window in slices that have requests, oldest first: hours, then minutes for the last six hours.

    The window starts with a whole hour and so is up to an hour longer than named. A slice is counted anew each time,
    so that late spans correct it.
    """
    start_ns = _floor(now_ns - objective.window_ns, HOUR_NS)
    fine_ns = _floor(now_ns - FINE_NS, HOUR_NS)
    end_ns = _floor(now_ns, MINUTE_NS) + MINUTE_NS
    return [
        *_ask(objective, store, TimeRange(start_ns, fine_ns), HOUR_NS),
        *_ask(objective, store, TimeRange(fine_ns, end_ns), MINUTE_NS),
    ]


def _ask(objective: Objective, store: Store, time_range: TimeRange, step_ns: int) -> list[Slice]:
    indicator = objective.indicator
    slices = []
    for row in store.traces.aggregate(objective.question(time_range, step_ns)):
        total = indicator.total(row)
        slices.append(Slice(row.start_ns, row.start_ns + step_ns, total, total - indicator.good(row)))
    return sorted(slices, key=lambda part: part.start_ns)


def _floor(time_ns: int, step_ns: int) -> int:
    return time_ns // step_ns * step_ns


def sum_from(slices: Iterable[Slice], start_ns: int) -> tuple[int, int]:
    """(total, bad) of the slices that end after `start_ns`: a window never misses a part of what it is named after."""
    kept = [part for part in slices if part.end_ns > start_ns]
    return sum(part.total for part in kept), sum(part.bad for part in kept)


def is_enough(total: int, bad: int) -> bool:
    """Whether there are requests enough to judge by: an application on a laptop has few."""
    return bad >= MIN_BAD or total >= MIN_REQUESTS
