"""Finds out who calls a database statement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Row, func, select

from apm_store.query import StatementCallers, TimeRange
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.schema import operation, service, span
from apm_store.sqlite.span_rows import starts_within, statement_id_of

SAMPLED_CALLS = 200
"""How many of the newest calls are followed up to their entry span."""

_Key = tuple[bytes, bytes]


def statement_callers(snapshot: Snapshot, statement_id: str, time_range: TimeRange) -> StatementCallers:
    """The entry operations under which a statement ran, most calls first.

    Where a trace lacks the entry span, the outermost span that it holds stands for it.
    """
    wanted = (span.c.statement_id == statement_id_of(statement_id), starts_within(time_range))
    total = snapshot.rows(select(func.count()).select_from(span).where(*wanted))[0][0]
    newest = span.c.start_ns.desc()
    calls = snapshot.rows(select(span.c.trace_id, span.c.span_id).where(*wanted).order_by(newest).limit(SAMPLED_CALLS))
    spans = _spans_of(snapshot, {call.trace_id for call in calls})
    entries = (_entry_of((call.trace_id, call.span_id), spans) for call in calls)
    counts = Counter((entry.service, entry.operation) for entry in entries)
    callers = tuple((*names, count) for names, count in counts.most_common())
    return StatementCallers(callers, sampled=len(calls), total=total)


def _spans_of(snapshot: Snapshot, trace_ids: Iterable[bytes]) -> dict[_Key, Row[Any]]:
    columns = (span.c.trace_id, span.c.span_id, span.c.parent_span_id, span.c.is_entry)
    names = (
        select(service.c.name).where(service.c.id == span.c.service_id).scalar_subquery().label("service"),
        select(operation.c.name).where(operation.c.id == span.c.operation_id).scalar_subquery().label("operation"),
    )
    question = select(*columns, *names).where(span.c.trace_id.in_(sorted(trace_ids)))
    return {(row.trace_id, row.span_id): row for row in snapshot.stream(question)}


def _entry_of(key: _Key, spans: Mapping[_Key, Row[Any]]) -> Row[Any]:
    """The nearest entry span at or above a span; a cycle of parents ends where it closes."""
    seen = {key}
    found = spans[key]
    while not found.is_entry:
        above = (found.trace_id, found.parent_span_id)
        if above in seen or above not in spans:
            break
        seen.add(above)
        found = spans[above]
    return found
