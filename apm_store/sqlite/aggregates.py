"""Answers questions about spans in aggregate, from the roll-ups alone.

Long steps of a roll-up make up the inside of the range, shorter ones its edges. SQLite sums the rows up: a row that
comes to Python costs as much as all the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from sqlalchemy import BLOB, ColumnElement, Table, and_, cast, func, null, or_, select

from apm_store.query import (
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
from apm_store.sqlite.rollups import HOUR_S, MINUTE_S, SERVICE_STEPS_S, STEPS_S
from apm_store.sqlite.schema import (
    minute,
    operation,
    prune,
    service,
    service_rollup,
    span_rollup,
    statement,
    statement_rollup,
)
from apm_store.sqlite.span_rows import names_of, operation_id_of, service_id_of, statement_id_of

_S = 1_000_000_000
_STEPS_KEPT = 2_000  # a day, six hours, an hour and 15 minutes of eight services: 8 MB
_HALF = 32  # SQLite's sums have 64 bits, so those of durations are taken in two halves
_Measures = tuple[int, int, int, int, bytes, bytes | None]
"""Count, the two halves of the durations' sum, the longest one and its trace, packed sketches."""


@dataclass(slots=True)
class _Sum:
    """What the sums of one group and step add up to; there is one for each outcome."""

    counts: dict[str, int] = field(default_factory=dict)
    sum_ns: int = 0
    max_ns: int = -1
    max_trace_id: bytes = b""
    sketches: list[bytes] = field(default_factory=list)
    failed_sketches: list[bytes] = field(default_factory=list)

    def add(self, outcome: str, measures: _Measures) -> None:
        count, high, low, max_ns, max_trace_id, sketch = measures
        self.counts[outcome] = self.counts.get(outcome, 0) + count
        self.sum_ns += (high << _HALF) + low
        if max_ns > self.max_ns:
            self.max_ns, self.max_trace_id = max_ns, max_trace_id
        if sketch is not None:
            (self.failed_sketches if outcome == Outcome.FAILED.value else self.sketches).append(sketch)

    def count_of(self, outcome: Outcome) -> int:
        return self.counts.get(outcome.value, 0)


def aggregate_spans(snapshot: Snapshot, question: SpanAggregate) -> list[AggregateRow]:
    """Counts and durations of spans by group and step, ordered by start and group.

    Steps are aligned to the epoch: a step's `start_ns` is a multiple of `step_ns`, and the first may begin before
    the range. Raises ValueError when `step_ns` is no whole number of minutes.
    """
    question = replace(question, time_range=_up_to_the_hour(snapshot, question.time_range))
    by_service = question.entry_only and question.operation is None and set(question.group_by) <= {GroupBy.SERVICE}
    table = service_rollup if by_service else span_rollup
    wanted = _wanted(table, question)
    if question.operation is not None:
        wanted.append(table.c.operation_id == operation_id_of(question.operation))
    if question.entry_only and not by_service:
        wanted.append(table.c.is_entry == 1)
    columns = {GroupBy.SERVICE: "service_id", GroupBy.OPERATION: "operation_id", GroupBy.KIND: "kind"}
    keys = [table.c[columns[by]] for by in question.group_by]
    sums = _summed_up(snapshot, table, question, wanted, keys)
    names = [_names_by(snapshot, by, {group[at] for _, group in sums}) for at, by in enumerate(question.group_by)]
    named = {
        (start_ns, tuple(known[key] for key, known in zip(group, names, strict=True))): total
        for (start_ns, group), total in sums.items()
    }
    return [
        _aggregate_row(group, start_ns, total, _sketch if question.step_ns is None else _step_sketch)
        for (start_ns, group), total in _in_order(snapshot, named)
    ]


def aggregate_statements(snapshot: Snapshot, question: StatementAggregate) -> list[StatementRow]:
    """Counts and durations of database calls by statement, service and step, ordered by start; steps as above."""
    table = statement_rollup
    question = replace(question, time_range=_up_to_the_hour(snapshot, question.time_range))
    wanted = _wanted(table, question)
    if question.statement_id is not None:
        wanted.append(table.c.statement_id == statement_id_of(question.statement_id))
    sums = _summed_up(snapshot, table, question, wanted, [table.c.statement_id, table.c.service_id])
    known = _statements(snapshot, {group[0] for _, group in sums})
    services_by_id = names_of(snapshot, service, {group[1] for _, group in sums})
    named = {
        (start_ns, (statement_key, services_by_id[service_key])): total
        for (start_ns, (statement_key, service_key)), total in sums.items()
    }
    return [
        _statement_row(known[statement_key], service_name, start_ns, total)
        for (start_ns, (statement_key, service_name)), total in _in_order(snapshot, named)
    ]


def services(snapshot: Snapshot) -> list[ServiceInfo]:
    """Every service that has sent a span, by name."""
    question = select(service).where(service.c.first_seen_ns.is_not(None)).order_by(service.c.name)
    return [ServiceInfo(row.name, row.slot, row.first_seen_ns, row.last_seen_ns) for row in snapshot.stream(question)]


def operations(snapshot: Snapshot, service_name: str | None, time_range: TimeRange) -> list[str]:
    """Names of entry operations that ran in the range (widened to whole minutes), sorted."""
    wanted = [*_wanted(span_rollup, SpanAggregate(time_range, service=service_name)), span_rollup.c.is_entry == 1]
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


_Question = SpanAggregate | StatementAggregate
_Sums = dict[tuple[int, tuple[int, ...]], _Sum]


def _summed_up(
    snapshot: Snapshot,
    table: Table,
    question: _Question,
    wanted: list[ColumnElement[bool]],
    keys: Sequence[ColumnElement[int]],
) -> _Sums:
    """The sums over the rows of a roll-up by start of the step and keys."""
    columns = table.c
    start_ns = _whole_minutes(question.time_range)[0] * _S
    grouped = [*keys, columns.outcome]
    if question.step_ns is not None:
        grouped.insert(0, columns.start_s * _S // question.step_ns * question.step_ns)
    # Beside one max(), SQLite takes what is not summed up from the row that has it.
    measures = [
        func.sum(columns["count"]),
        func.sum(columns.sum_ns.op(">>")(_HALF)),
        func.sum(columns.sum_ns.op("&")((1 << _HALF) - 1)),
        func.max(columns.max_ns),
        columns.max_trace_id,
        merged(columns.sketch) if question.with_durations else null(),
    ]
    sums: _Sums = {}
    depth = len(grouped)
    for row in map(tuple, snapshot.rows(select(*grouped, *measures).where(*wanted).group_by(*grouped))):
        *group, outcome = row[:depth]
        at = start_ns if question.step_ns is None else group.pop(0)
        sums.setdefault((at, tuple(group)), _Sum()).add(outcome, row[depth:])
    return sums


def _names_by(snapshot: Snapshot, by: GroupBy, keys: set[int]) -> dict[int, str]:
    """What stands in the answer for the keys of a group."""
    if by is GroupBy.KIND:
        return {key: str(key) for key in keys}
    return names_of(snapshot, service if by is GroupBy.SERVICE else operation, keys)


def _wanted(table: Table, question: _Question) -> list[ColumnElement[bool]]:
    wanted = [in_range(table, question.time_range, question.step_ns)]
    if question.service is not None:
        wanted.append(table.c.service_id == service_id_of(question.service))
    return wanted


def merged(sketches: ColumnElement[bytes]) -> ColumnElement[bytes]:
    """A column of packed sketches merged into one, which they are when they stand one behind the other."""
    return cast(func.group_concat(sketches, ""), BLOB)


def _up_to_the_hour(snapshot: Snapshot, time_range: TimeRange) -> TimeRange:
    """The range, widened to end with an hour when no span starts in the rest of it, as in ranges that end now.

    The answer stays the same, and is read from one row of the hour instead of one for each minute.
    """
    start_s, end_s = _whole_minutes(time_range)
    hour_end_s = -(-end_s // HOUR_S) * HOUR_S
    later = select(minute.c.start_s).where(minute.c.start_s >= end_s, minute.c.start_s < hour_end_s).limit(1)
    if end_s in (start_s, hour_end_s) or snapshot.rows(later):
        return time_range
    return TimeRange(time_range.start_ns, hour_end_s * _S)


def in_range(table: Table, time_range: TimeRange, step_ns: int | None) -> ColumnElement[bool]:
    """That a row of a roll-up lies in the range, each stretch of which is taken from one roll-up only.

    Raises ValueError when `step_ns` is no whole number of minutes.
    """
    steps_s = SERVICE_STEPS_S if table is service_rollup else STEPS_S
    return or_(*(_between(table, *stretch) for stretch in _stretches(time_range, step_ns, steps_s)))


def _between(table: Table, step_s: int, start_s: int, end_s: int) -> ColumnElement[bool]:
    return and_(table.c.step_s == step_s, table.c.start_s >= start_s, table.c.start_s < end_s)


def _stretches(time_range: TimeRange, step_ns: int | None, steps_s: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(step of the roll-up, start, end) in seconds: of the steps that fit into those asked for, long ones inside."""
    if step_ns is not None and (step_ns <= 0 or step_ns % MINUTE_NS):
        raise ValueError(f"step_ns is {step_ns}; it must be a whole number of minutes ({MINUTE_NS} ns).")
    fitting = [step_s for step_s in steps_s if step_ns is None or step_ns % (step_s * _S) == 0]
    yield from _split(*_whole_minutes(time_range), fitting)


def _split(start_s: int, end_s: int, steps_s: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """A range of whole shortest steps, as much of it as can be in the longest ones."""
    *shorter_s, step_s = steps_s
    first_s, last_s = -(-start_s // step_s) * step_s, end_s // step_s * step_s
    if not shorter_s:
        yield step_s, start_s, end_s
    elif first_s >= last_s:
        yield from _split(start_s, end_s, shorter_s)
    else:
        yield from _split(start_s, first_s, shorter_s)
        yield step_s, first_s, last_s
        yield from _split(last_s, end_s, shorter_s)


def _whole_minutes(time_range: TimeRange) -> tuple[int, int]:
    """The range in seconds, widened to whole minutes; empty stays empty."""
    start_s = time_range.start_ns // MINUTE_NS * MINUTE_S
    if time_range.end_ns <= time_range.start_ns:
        return start_s, start_s
    return start_s, -(-time_range.end_ns // MINUTE_NS) * MINUTE_S


def _in_order(snapshot: Snapshot, sums: Mapping[Any, _Sum]) -> Iterator[tuple[Any, _Sum]]:
    """The sums by step and group; there may be many, so the clock is looked at before each."""
    for key in sorted(sums):
        snapshot.check()
        yield key, sums[key]


def _aggregate_row(
    group: tuple[str, ...], start_ns: int, total: _Sum, unpack: Callable[[bytes], Sketch]
) -> AggregateRow:
    return AggregateRow(
        group=group,
        start_ns=start_ns,
        count=sum(total.counts.values()),
        failed_count=total.count_of(Outcome.FAILED),
        client_error_count=total.count_of(Outcome.CLIENT_ERROR),
        duration_sum_ns=total.sum_ns,
        max_duration_ns=total.max_ns,
        slowest_trace_id=total.max_trace_id.hex(),
        durations=unpack(b"".join((*total.sketches, *total.failed_sketches))),
        ok_durations=Sketch.from_many(total.sketches),
    )


def _sketch(packed: bytes) -> Sketch:
    return Sketch.from_many((packed,))


@lru_cache(maxsize=_STEPS_KEPT)
def _step_sketch(packed: bytes) -> Sketch:
    """Shared by all answers, to be read only: past steps do not change, and an open page asks for them all the time."""
    return _sketch(packed)


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
