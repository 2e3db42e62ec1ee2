"""Which database statements cost the most time."""

from __future__ import annotations

from dataclasses import dataclass

from apm_analysis.red import whole_steps
from apm_store.api import Store
from apm_store.query import StatementAggregate, TimeRange
from apm_store.sketch import Sketch


@dataclass(frozen=True, slots=True)
class SlowQuery:
    """One statement as one service calls it. `share_of_total` is its part (0 to 1) of all database time asked for.

    Percentiles are computed when they are asked for: of hundreds of statements few are shown.
    """

    statement_id: str
    text: str
    system: str
    namespace: str
    service: str
    count: int
    failed_count: int
    total_ns: int
    durations: Sketch
    max_ns: int
    worst_trace_id: str
    share_of_total: float

    @property
    def p50_ns(self) -> float | None:
        """The duration that half of the calls do not exceed."""
        return self.durations.quantile(0.50)

    @property
    def p95_ns(self) -> float | None:
        """The duration that 95 % of the calls do not exceed."""
        return self.durations.quantile(0.95)


@dataclass(frozen=True, slots=True)
class StatementPoint:
    """The calls of a statement that started in one step."""

    start_ns: int
    count: int
    total_ns: int


@dataclass(frozen=True, slots=True)
class StatementSeries:
    """The calls of one statement of one service; `points` has every step of the range."""

    statement_id: str
    service: str
    points: tuple[StatementPoint, ...]

    @property
    def total_ns(self) -> int:
        """The time of all calls together."""
        return sum(point.total_ns for point in self.points)


def rank_slow_queries(store: Store, time_range: TimeRange, service: str | None = None) -> list[SlowQuery]:
    """Every statement called in the range, most total time first."""
    rows = store.traces.aggregate_statements(StatementAggregate(time_range, service=service))
    all_ns = sum(row.duration_sum_ns for row in rows)
    queries = [
        SlowQuery(
            statement_id=row.statement_id,
            text=row.text,
            system=row.system,
            namespace=row.namespace,
            service=row.service,
            count=row.count,
            failed_count=row.failed_count,
            total_ns=row.duration_sum_ns,
            durations=row.durations,
            max_ns=row.max_duration_ns,
            worst_trace_id=row.slowest_trace_id,
            share_of_total=row.duration_sum_ns / max(1, all_ns),
        )
        for row in rows
    ]
    return sorted(queries, key=lambda query: (-query.total_ns, query.statement_id, query.service))


def statement_series(
    store: Store, time_range: TimeRange, step_ns: int, service: str | None = None
) -> list[StatementSeries]:
    """Database time of every statement over the range, widened to begin with a whole step; most total time first."""
    widened = whole_steps(time_range, step_ns)
    empty = {start: StatementPoint(start, 0, 0) for start in range(widened.start_ns, widened.end_ns, step_ns)}
    points: dict[tuple[str, str], dict[int, StatementPoint]] = {}
    question = StatementAggregate(widened, service=service, step_ns=step_ns, with_durations=False)
    for row in store.traces.aggregate_statements(question):
        steps = points.setdefault((row.statement_id, row.service), dict(empty))
        start_ns = row.start_ns // step_ns * step_ns
        steps[start_ns] = StatementPoint(start_ns, row.count, row.duration_sum_ns)
    found = [StatementSeries(*key, tuple(steps.values())) for key, steps in points.items()]
    return sorted(found, key=lambda series: (-series.total_ns, series.statement_id, series.service))
