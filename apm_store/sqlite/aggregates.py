"""Answers questions about spans in aggregate, from the roll-ups alone.

Rows of whole hours inside the range come from the hourly roll-up, those at its edges from the one by minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, and_, func, or_, select

from apm_store.query import (
    HOUR_NS,
    MINUTE_NS,
    AggregateRow,
    Coverage,
    GroupBy,
    Outcome,
    ServiceInfo,
    SpanAggregate,
    StatementAggregate,
    StatementRow,
    TimeRange,
)
from apm_store.sketch import Sketch
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.rollups import HOUR_S, MINUTE_S
from apm_store.sqlite.schema import minute, operation, prune, service, span_rollup, statement, statement_rollup
from apm_store.sqlite.span_rows import operation_id_of, service_id_of, statement_id_of

_S = 1_000_000_000
_MEASURES = ("start_s", "outcome", "count", "sum_ns", "max_ns", "max_trace_id")


@dataclass(slots=True)
class _Sum:
    """What the roll-up rows of one group and step add up to."""

    counts: dict[str, int] = field(default_factory=dict)
    sum_ns: int = 0
    max_ns: int = -1
    max_trace_id: bytes = b""
    sketches: list[bytes] = field(default_factory=list)
    failed_sketches: list[bytes] = field(default_factory=list)

    def add(self, row: Any) -> None:
        self.counts[row.outcome] = self.counts.get(row.outcome, 0) + row.count
        self.sum_ns += row.sum_ns
        if row.max_ns > self.max_ns:
            self.max_ns, self.max_trace_id = row.max_ns, row.max_trace_id
        if "sketch" in row._fields:
            sketches = self.failed_sketches if row.outcome == Outcome.FAILED.value else self.sketches
            sketches.append(row.sketch)

    def count_of(self, outcome: Outcome) -> int:
        return self.counts.get(outcome.value, 0)


def aggregate_spans(snapshot: Snapshot, question: SpanAggregate) -> list[AggregateRow]:
    """Counts and durations of spans by group and step, ordered by start and group.

    Steps are aligned to the epoch: a step's `start_ns` is a multiple of `step_ns`, and the first may begin before
    the range. Raises ValueError when `step_ns` is no whole number of minutes.
    """
    columns = {
        GroupBy.SERVICE: _name_of(service, span_rollup.c.service_id),
        GroupBy.OPERATION: _name_of(operation, span_rollup.c.operation_id),
        GroupBy.KIND: span_rollup.c.kind,
    }
    names = [columns[by].label(by.value) for by in question.group_by]
    wanted = _span_conditions(question.time_range, question.step_ns, question.service)
    if question.operation is not None:
        wanted.append(span_rollup.c.operation_id == operation_id_of(question.operation))
    if question.entry_only:
        wanted.append(span_rollup.c.is_entry == 1)
    select_rows = _measures(span_rollup, question.with_durations).add_columns(*names).where(*wanted)
    sums: dict[tuple[int, tuple[str, ...]], _Sum] = {}
    for row in snapshot.stream(select_rows):
        group = tuple(str(getattr(row, by.value)) for by in question.group_by)
        key = (_step_start(row.start_s, question.time_range, question.step_ns), group)
        sums.setdefault(key, _Sum()).add(row)
    return [_aggregate_row(group, start_ns, total) for (start_ns, group), total in sorted(sums.items(), key=_key)]


def aggregate_statements(snapshot: Snapshot, question: StatementAggregate) -> list[StatementRow]:
    """Counts and durations of database calls by statement, service and step, ordered by start; steps as above."""
    table = statement_rollup
    wanted = [in_range(table, question.time_range, question.step_ns)]
    if question.service is not None:
        wanted.append(table.c.service_id == service_id_of(question.service))
    if question.statement_id is not None:
        wanted.append(table.c.statement_id == statement_id_of(question.statement_id))
    name = _name_of(service, table.c.service_id).label("service")
    sums: dict[tuple[int, tuple[int, str]], _Sum] = {}
    for row in snapshot.stream(_measures(table, True).add_columns(table.c.statement_id, name).where(*wanted)):
        key = (_step_start(row.start_s, question.time_range, question.step_ns), (row.statement_id, row.service))
        sums.setdefault(key, _Sum()).add(row)
    known = _statements(snapshot, {key for _, (key, _) in sums})
    return [
        _statement_row(known[statement_key], service_name, start_ns, total)
        for (start_ns, (statement_key, service_name)), total in sorted(sums.items(), key=_key)
    ]


def services(snapshot: Snapshot) -> list[ServiceInfo]:
    """Every service that has sent a span, by name."""
    question = select(service).where(service.c.first_seen_ns.is_not(None)).order_by(service.c.name)
    return [ServiceInfo(row.name, row.slot, row.first_seen_ns, row.last_seen_ns) for row in snapshot.stream(question)]


def operations(snapshot: Snapshot, service_name: str | None, time_range: TimeRange) -> list[str]:
    """Names of entry operations that ran in the range (widened to whole minutes), sorted."""
    wanted = [*_span_conditions(time_range, None, service_name), span_rollup.c.is_entry == 1]
    ids = select(span_rollup.c.operation_id).distinct().where(*wanted)
    names = select(operation.c.name).where(operation.c.id.in_(ids))
    return sorted(row.name for row in snapshot.stream(names))


def coverage(snapshot: Snapshot, time_range: TimeRange) -> Coverage:
    """How much of the range holds spans; `first_ns` and `last_ns` are starts of spans."""
    seen = services(snapshot)
    start_s, end_s = _whole_minutes(time_range)
    minutes = select(func.count()).where(minute.c.start_s >= start_s, minute.c.start_s < end_s)
    return Coverage(
        time_range=time_range,
        first_ns=min((info.first_seen_ns for info in seen), default=None),
        last_ns=max((info.last_seen_ns for info in seen), default=None),
        measured_minutes=snapshot.rows(minutes)[0][0],
        expected_minutes=(end_s - start_s) // MINUTE_S,
        raw_since_ns=_raw_since_ns(snapshot),
    )


def _raw_since_ns(snapshot: Snapshot) -> int | None:
    """See `condition.RAW_SINCE`."""
    raw_since_ns: int | None = snapshot.rows(select(func.max(func.min(prune.c.last_ns, prune.c.time_ns)) + 1))[0][0]
    return raw_since_ns


def _measures(table: Table, with_durations: bool) -> Select[Any]:
    columns = (*_MEASURES, "sketch") if with_durations else _MEASURES
    return select(*(table.c[name] for name in columns))


def _name_of(table: Table, key: ColumnElement[int]) -> ColumnElement[Any]:
    return select(table.c.name).where(table.c.id == key).scalar_subquery()


def _span_conditions(time_range: TimeRange, step_ns: int | None, service_name: str | None) -> list[ColumnElement[bool]]:
    wanted = [in_range(span_rollup, time_range, step_ns)]
    if service_name is not None:
        wanted.append(span_rollup.c.service_id == service_id_of(service_name))
    return wanted


def in_range(table: Table, time_range: TimeRange, step_ns: int | None) -> ColumnElement[bool]:
    """That a row of a roll-up lies in the range, each stretch of which is taken from one roll-up only.

    Raises ValueError when `step_ns` is no whole number of minutes.
    """
    return or_(*(_between(table, *stretch) for stretch in _stretches(time_range, step_ns)))


def _between(table: Table, step_s: int, start_s: int, end_s: int) -> ColumnElement[bool]:
    return and_(table.c.step_s == step_s, table.c.start_s >= start_s, table.c.start_s < end_s)


def _stretches(time_range: TimeRange, step_ns: int | None) -> Iterator[tuple[int, int, int]]:
    """(step of the roll-up, start, end) in seconds: whole hours where the steps allow them, minutes elsewhere."""
    if step_ns is not None and (step_ns <= 0 or step_ns % MINUTE_NS):
        raise ValueError(f"step_ns is {step_ns}; it must be a whole number of minutes ({MINUTE_NS} ns).")
    start_s, end_s = _whole_minutes(time_range)
    first_hour_s, last_hour_s = -(-start_s // HOUR_S) * HOUR_S, end_s // HOUR_S * HOUR_S
    if first_hour_s >= last_hour_s or (step_ns is not None and step_ns % HOUR_NS):
        yield MINUTE_S, start_s, end_s
        return
    yield MINUTE_S, start_s, first_hour_s
    yield HOUR_S, first_hour_s, last_hour_s
    yield MINUTE_S, last_hour_s, end_s


def _whole_minutes(time_range: TimeRange) -> tuple[int, int]:
    """The range in seconds, widened to whole minutes; empty stays empty."""
    start_s = time_range.start_ns // MINUTE_NS * MINUTE_S
    if time_range.end_ns <= time_range.start_ns:
        return start_s, start_s
    return start_s, -(-time_range.end_ns // MINUTE_NS) * MINUTE_S


def _step_start(start_s: int, time_range: TimeRange, step_ns: int | None) -> int:
    """The start of the step that a roll-up row falls into; that of the range where there are no steps."""
    if step_ns is None:
        return _whole_minutes(time_range)[0] * _S
    return start_s * _S // step_ns * step_ns


def _key(item: tuple[Any, _Sum]) -> Any:
    return item[0]


def _aggregate_row(group: tuple[str, ...], start_ns: int, total: _Sum) -> AggregateRow:
    ok_durations = Sketch.from_many(total.sketches)
    durations = Sketch.from_many(total.failed_sketches)
    durations.merge(ok_durations)
    return AggregateRow(
        group=group,
        start_ns=start_ns,
        count=sum(total.counts.values()),
        failed_count=total.count_of(Outcome.FAILED),
        client_error_count=total.count_of(Outcome.CLIENT_ERROR),
        duration_sum_ns=total.sum_ns,
        max_duration_ns=total.max_ns,
        slowest_trace_id=total.max_trace_id.hex(),
        durations=durations,
        ok_durations=ok_durations,
    )


def _statements(snapshot: Snapshot, keys: set[int]) -> dict[int, Any]:
    return {row.id: row for row in snapshot.stream(select(statement).where(statement.c.id.in_(sorted(keys))))}


def _statement_row(known: Any, service_name: str, start_ns: int, total: _Sum) -> StatementRow:
    return StatementRow(
        statement_id=known.hash,
        text=known.text,
        system=known.system,
        namespace=known.namespace,
        service=service_name,
        start_ns=start_ns,
        count=sum(total.counts.values()),
        failed_count=total.count_of(Outcome.FAILED),
        duration_sum_ns=total.sum_ns,
        max_duration_ns=total.max_ns,
        slowest_trace_id=total.max_trace_id.hex(),
        durations=Sketch.from_many((*total.sketches, *total.failed_sketches)),
    )
