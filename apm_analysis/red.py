"""Rate, errors and duration of requests, per service, per operation and over time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from apm_store.api import Store
from apm_store.query import MINUTE_NS, AggregateRow, GroupBy, SpanAggregate, TimeRange
from apm_store.sketch import Sketch

APDEX_THRESHOLD_NS = 500_000_000
MAX_STEPS = 100
_STEP_MINUTES = (1, 2, 5, 10, 15, 30, 60, 120, 360, 720, 1440)


@dataclass(frozen=True, slots=True)
class RedPoint:
    """The requests that started in one step; percentiles are None where there were none."""

    start_ns: int
    count: int
    failed_count: int
    client_error_count: int
    p50_ns: float | None
    p95_ns: float | None
    p99_ns: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRed:
    """The requests of one service; `series` has every step of the range."""

    service: str
    count: int
    failed_count: int
    client_error_count: int
    rate_per_second: float
    failed_share: float
    p50_ns: float | None
    p95_ns: float | None
    p99_ns: float | None
    apdex: float | None
    series: tuple[RedPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRed:
    """The requests to one operation; `total_ns` is the sum of their durations."""

    service: str
    operation: str
    count: int
    failed_count: int
    client_error_count: int
    rate_per_second: float
    failed_share: float
    p50_ns: float | None
    p95_ns: float | None
    p99_ns: float | None
    apdex: float | None
    total_ns: int
    max_ns: int
    slowest_trace_id: str


def choose_step_ns(time_range: TimeRange) -> int:
    """The smallest round step that splits the range into at most `MAX_STEPS` steps."""
    for minutes in _STEP_MINUTES:
        if time_range.duration_ns <= MAX_STEPS * minutes * MINUTE_NS:
            return minutes * MINUTE_NS
    day_ns = 1440 * MINUTE_NS
    return -(-time_range.duration_ns // (MAX_STEPS * day_ns)) * day_ns


def service_red(store: Store, time_range: TimeRange, *, step_ns: int | None = None) -> list[ServiceRed]:
    """Every service with requests in the range, most requests first.

    The range is widened to begin with a whole step, so that a service's numbers are the sum of its series; spans that
    arrive meanwhile may be in one and not yet in the other.
    """
    step_ns = step_ns or choose_step_ns(time_range)
    widened = whole_steps(time_range, step_ns)
    by_service: dict[str, list[AggregateRow]] = {}
    for row in store.traces.aggregate(SpanAggregate(widened, step_ns=step_ns, with_durations=True)):
        by_service.setdefault(row.group[0], []).append(row)
    measured = measured_part(store, widened)
    reds = [
        ServiceRed(
            service=row.group[0],
            series=_series(by_service.get(row.group[0], ()), widened, step_ns),
            **_measures(row, measured),
        )
        # Asked for again as a whole: the store sums up long steps, which is faster than to merge all steps here.
        for row in store.traces.aggregate(SpanAggregate(widened, with_durations=True))
    ]
    return sorted(reds, key=lambda red: (-red.count, red.service))


def operation_red(store: Store, time_range: TimeRange, service: str | None = None) -> list[OperationRed]:
    """Every operation with requests in the range, most total time first."""
    question = SpanAggregate(time_range, (GroupBy.SERVICE, GroupBy.OPERATION), service=service, with_durations=True)
    measured = measured_part(store, time_range)
    reds = [
        OperationRed(
            service=row.group[0],
            operation=row.group[1],
            total_ns=row.duration_sum_ns,
            max_ns=row.max_duration_ns,
            slowest_trace_id=row.slowest_trace_id,
            **_measures(row, measured),
        )
        for row in store.traces.aggregate(question)
    ]
    return sorted(reds, key=lambda red: (-red.total_ns, red.service, red.operation))


def overall_series(store: Store, time_range: TimeRange, step_ns: int, service: str | None = None) -> list[RedPoint]:
    """The requests of all services (or one) in every step of the range, which is widened to begin with a whole step."""
    widened = whole_steps(time_range, step_ns)
    question = SpanAggregate(widened, step_ns=step_ns, service=service, with_durations=True)
    return list(_series(store.traces.aggregate(question), widened, step_ns))


def whole_steps(time_range: TimeRange, step_ns: int) -> TimeRange:
    """The range, widened to begin at a multiple of `step_ns`."""
    return TimeRange(time_range.start_ns // step_ns * step_ns, time_range.end_ns)


def measured_part(store: Store, time_range: TimeRange) -> TimeRange:
    """The part of a range since the store's first span, at least its last second: what a rate is divided by.

    Time before anything was measured is not time without requests.
    """
    first_ns = store.traces.coverage(time_range).first_ns or time_range.start_ns
    start_ns = max(time_range.start_ns, min(first_ns, time_range.end_ns - 1_000_000_000))
    return TimeRange(start_ns, time_range.end_ns)


def apdex(row: AggregateRow) -> float | None:
    """The Apdex score, (satisfied + tolerating / 2) / all, with T = 500 ms; None when there are no requests.

    Satisfied: no longer than T; tolerating: no longer than 4 T; failed requests are frustrated however fast.
    Source: Apdex Alliance, "Application Performance Index – Apdex Technical Specification", version 1.1, 2007.
    """
    if not row.count:
        return None
    satisfied = row.ok_durations.count_at_most(APDEX_THRESHOLD_NS)
    tolerating = row.ok_durations.count_at_most(4 * APDEX_THRESHOLD_NS) - satisfied
    return (satisfied + tolerating / 2) / row.count


def _merge(rows: Sequence[AggregateRow]) -> AggregateRow:
    """All rows as one that counts everything; without rows, one that counts nothing."""
    if len(rows) == 1:  # as in each step of one service: to merge sketches costs most
        return rows[0]
    durations, ok_durations = Sketch(), Sketch()
    for row in rows:
        durations.merge(row.durations)
        ok_durations.merge(row.ok_durations)
    slowest = max(rows, key=lambda row: row.max_duration_ns, default=None)
    return AggregateRow(
        group=(),
        start_ns=0,
        count=sum(row.count for row in rows),
        failed_count=sum(row.failed_count for row in rows),
        client_error_count=sum(row.client_error_count for row in rows),
        duration_sum_ns=sum(row.duration_sum_ns for row in rows),
        max_duration_ns=slowest.max_duration_ns if slowest else 0,
        slowest_trace_id=slowest.slowest_trace_id if slowest else "",
        durations=durations,
        ok_durations=ok_durations,
    )


def _measures(row: AggregateRow, measured: TimeRange) -> dict[str, Any]:
    """The fields that `ServiceRed` and `OperationRed` share."""
    return {
        "count": row.count,
        "failed_count": row.failed_count,
        "client_error_count": row.client_error_count,
        "rate_per_second": row.count * 1e9 / max(1, measured.duration_ns),
        "failed_share": row.failed_count / max(1, row.count),
        "p50_ns": row.durations.quantile(0.50),
        "p95_ns": row.durations.quantile(0.95),
        "p99_ns": row.durations.quantile(0.99),
        "apdex": apdex(row),
    }


def _series(rows: Iterable[AggregateRow], widened: TimeRange, step_ns: int) -> tuple[RedPoint, ...]:
    by_step: dict[int, list[AggregateRow]] = {}
    for row in rows:
        by_step.setdefault(row.start_ns // step_ns * step_ns, []).append(row)
    steps = range(widened.start_ns, widened.end_ns, step_ns)
    return tuple(_point(start_ns, _merge(by_step.get(start_ns, ()))) for start_ns in steps)


def _point(start_ns: int, row: AggregateRow) -> RedPoint:
    return RedPoint(
        start_ns=start_ns,
        count=row.count,
        failed_count=row.failed_count,
        client_error_count=row.client_error_count,
        p50_ns=row.durations.quantile(0.50),
        p95_ns=row.durations.quantile(0.95),
        p99_ns=row.durations.quantile(0.99),
    )
