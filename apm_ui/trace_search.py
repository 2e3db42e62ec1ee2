"""What the Traces page asks beside the search itself: facets, the rows' root and self time, what removes everything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from apm_analysis.trace_tree import build_tree
from apm_store.api import TraceStore
from apm_store.query import (
    AggregateRow,
    GroupBy,
    Outcome,
    SpanAggregate,
    SpanRow,
    StatementAggregate,
    TimeRange,
    TraceQuery,
    TraceSummary,
)
from apm_ui.components.chips import Facet, FacetValue
from apm_ui.components.sql import statement_name
from apm_ui.search import STATUSES, Condition, trace_query

MAX_TRIED_CONDITIONS = 6
_STATUS_FACET = (("error", "Failed", "critical"), ("4xx", "4xx", "warn"), ("ok", "OK", "ok"))


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One trace of the list. Start, outcome, HTTP status and duration are those of the span that matched.

    `operation` is the root's; `matched_operation` is "" where the root itself matched, or has not arrived.
    `self_times` are (service, nanoseconds of self time) over the whole trace, by service.
    """

    trace_id: str
    matched: SpanRow
    operation: str
    matched_operation: str
    self_times: tuple[tuple[str, int], ...]
    span_count: int
    error_count: int


@dataclass(frozen=True, slots=True)
class Blocker:
    """The condition without which something matches, how many traces then do, and how long the slowest takes."""

    condition: Condition
    total: int
    slowest_ns: int


def to_trace_row(summary: TraceSummary) -> TraceRow:
    """A found trace as a row of the list."""
    tree = build_tree(summary.spans)
    root = tree.nodes[tree.root].span if tree.nodes else summary.matched
    if root.parent_span_id:  # the true root is missing; the span that matched says more than the first orphan
        root = summary.matched
    is_root = root.span_id == summary.matched.span_id
    return TraceRow(
        trace_id=summary.trace_id,
        matched=summary.matched,
        operation=root.operation,
        matched_operation="" if is_root else summary.matched.operation,
        self_times=tuple(sorted(tree.self_time_by_service())),
        span_count=len(summary.spans),
        error_count=sum(span.is_error for span in summary.spans),
    )


def load_facets(
    store: TraceStore, time_range: TimeRange, conditions: Sequence[Condition], slots: Mapping[str, int]
) -> tuple[Facet, ...]:
    """Service, operation and outcome with their counts of requests; a facet's counts ignore its own condition.

    They are read from roll-ups, so conditions on duration, attributes and statement are not in the counts.
    """
    query = trace_query(conditions, TraceQuery(time_range))
    by_operation = (GroupBy.SERVICE, GroupBy.OPERATION)
    entry_rows = store.aggregate(SpanAggregate(time_range, group_by=by_operation))
    rows = entry_rows
    if query.operation is not None:
        # An operation that is asked for may be any span's, not only an entry span's.
        rows = store.aggregate(
            SpanAggregate(time_range, group_by=by_operation, operation=query.operation, entry_only=False)
        )
    services = _sums(((row.group[0], _count(row, query.outcome)) for row in rows), query.service)
    chosen = [row for row in entry_rows if query.service in {None, row.group[0]}]
    operations = _sums(((row.group[1], _count(row, query.outcome)) for row in chosen), query.operation)
    matching = [row for row in rows if query.service in {None, row.group[0]}]
    return (
        Facet("Service", tuple(_value("service", name, n, slots.get(name)) for name, n in services)),
        Facet("Operation", tuple(_value("operation", name, n) for name, n in operations)),
        Facet("Outcome", _outcome_values(matching) if matching else ()),
    )


def _sums(counts: Iterable[tuple[str, int]], chosen: str | None) -> list[tuple[str, int]]:
    totals: dict[str, int] = {chosen: 0} if chosen else {}
    for name, amount in counts:
        totals[name] = totals.get(name, 0) + amount
    found = [(name, total) for name, total in totals.items() if total or name == chosen]
    return sorted(found, key=lambda item: (-item[1], item[0]))


def _value(key: str, name: str, amount: int, slot: int | None = None) -> FacetValue:
    return FacetValue(Condition(key, "=", name), name, amount, slot)


def _outcome_values(rows: Sequence[AggregateRow]) -> tuple[FacetValue, ...]:
    return tuple(
        FacetValue(
            Condition("status", "=", status), words, sum(_count(row, STATUSES[status]) for row in rows), state=state
        )
        for status, words, state in _STATUS_FACET
    )


def _count(row: AggregateRow, outcome: Outcome | None) -> int:
    if outcome is None:
        return row.count
    if outcome is Outcome.FAILED:
        return row.failed_count
    if outcome is Outcome.CLIENT_ERROR:
        return row.client_error_count
    return row.count - row.failed_count - row.client_error_count


def name_statement(store: TraceStore, query: TraceQuery) -> dict[str, str]:
    """A few words for the statement that a query asks for, by its id; empty when it was not called in the range."""
    if query.statement_id is None:
        return {}
    rows = store.aggregate_statements(StatementAggregate(query.time_range, statement_id=query.statement_id))
    return {row.statement_id: statement_name(row.text) for row in rows}


def find_blocker(store: TraceStore, time_range: TimeRange, conditions: Sequence[Condition]) -> Blocker | None:
    """For a query that nothing meets: a condition whose removal alone lets traces through; None when there is none."""
    for condition in list(reversed(conditions))[:MAX_TRIED_CONDITIONS]:
        others = [other for other in conditions if other is not condition]
        page = store.find(trace_query(others, TraceQuery(time_range, limit=1, order="slowest")))
        if page.traces:
            return Blocker(condition, page.total, page.traces[0].matched.duration_ns)
    return None
