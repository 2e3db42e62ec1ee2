"""Selects narrow span rows: the conditions of a `TraceQuery`, and the way back to a `SpanRow`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Select, Table, and_, func, literal_column, not_, select

from apm_store.model import SpanKind, StatusCode
from apm_store.query import Outcome, SpanRow, TimeRange, TraceQuery
from apm_store.sqlite.bodies import clamp
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.schema import operation, service, span, statement

_COLUMNS = (
    span.c.id,
    span.c.trace_id,
    span.c.span_id,
    span.c.parent_span_id,
    span.c.service_id,
    span.c.operation_id,
    span.c.kind,
    span.c.start_ns,
    span.c.duration_ns,
    span.c.status,
    span.c.http_status,
)

_ERROR = int(StatusCode.ERROR)
# Bound parameters would keep SQLite from using the partial indexes.
IS_ENTRY: ColumnElement[bool] = span.c.is_entry == literal_column("1")
_IS_FAILED = span.c.status == _ERROR
_IS_4XX = and_(span.c.kind == int(SpanKind.SERVER), span.c.http_status >= 400, span.c.http_status < 500)
_OUTCOMES: dict[Outcome, ColumnElement[bool]] = {
    Outcome.FAILED: _IS_FAILED,
    Outcome.CLIENT_ERROR: and_(not_(_IS_FAILED), _IS_4XX),
    Outcome.OK: and_(not_(_IS_FAILED), not_(and_(_IS_4XX, span.c.http_status.is_not(None)))),
}


def span_rows(snapshot: Snapshot, wanted: ColumnElement[bool]) -> Iterator[tuple[int, SpanRow]]:
    """The spans that meet a condition, each behind its id; names are looked up once for all of them."""
    rows: list[Any] = snapshot.rows(select(*_COLUMNS).where(wanted))
    services = _names(snapshot, service, {row[4] for row in rows})
    operations = _names(snapshot, operation, {row[5] for row in rows})
    for item, trace_id, span_id, parent_id, service_id, operation_id, kind, start_ns, duration_ns, status, http in rows:
        ids = (trace_id.hex(), span_id.hex(), parent_id.hex() if parent_id else "")
        names = (services[service_id], operations[operation_id])
        yield item, SpanRow(*ids, *names, kind, start_ns, duration_ns, status == _ERROR, http)


def listed(items: Iterable[int]) -> Select[Any]:
    """A subquery of these integers; however many there are, they are one parameter of one statement."""
    return select(func.json_each(json.dumps(list(items))).table_valued("value").c.value)


def _names(snapshot: Snapshot, table: Table, ids: Iterable[int]) -> dict[int, str]:
    question = select(table.c.id, table.c.name).where(table.c.id.in_(listed(ids)))
    return {row.id: row.name for row in snapshot.stream(question)}


def id_bytes(hex_id: str) -> bytes:
    """The bytes of a hexadecimal id; those of no stored id when it is none."""
    try:
        return bytes.fromhex(hex_id)
    except ValueError:
        return b""


def service_id_of(name: str) -> ScalarSelect[Any]:
    """The id of a service, or NULL."""
    return select(service.c.id).where(service.c.name == name).scalar_subquery()


def operation_id_of(name: str) -> ScalarSelect[Any]:
    """The id of an operation, or NULL."""
    return select(operation.c.id).where(operation.c.name == name).scalar_subquery()


def statement_id_of(statement_id: str) -> ScalarSelect[Any]:
    """The row id of a statement that the questions know by its hash, or NULL."""
    return select(statement.c.id).where(statement.c.hash == statement_id).scalar_subquery()


def starts_within(time_range: TimeRange) -> ColumnElement[bool]:
    """That a span starts in the range."""
    return and_(span.c.start_ns >= clamp(time_range.start_ns), span.c.start_ns < clamp(time_range.end_ns))


def indexed_conditions(query: TraceQuery) -> list[ColumnElement[bool]]:
    """The conditions of a query that choose its index."""
    wanted = [starts_within(query.time_range)]
    if query.service is not None:
        wanted.append(span.c.service_id == service_id_of(query.service))
    if query.operation is not None:
        wanted.append(span.c.operation_id == operation_id_of(query.operation))
    if query.statement_id is not None:
        wanted.append(span.c.statement_id == statement_id_of(query.statement_id))
    if query.operation is None and query.statement_id is None:
        wanted.append(IS_ENTRY)
    return wanted


def row_conditions(query: TraceQuery) -> list[ColumnElement[bool]]:
    """The other conditions of a query, but for its attributes: outcome and duration."""
    wanted = [] if query.outcome is None else [_OUTCOMES[query.outcome]]
    if query.min_duration_ns is not None:
        wanted.append(span.c.duration_ns >= clamp(query.min_duration_ns))
    if query.max_duration_ns is not None:
        wanted.append(span.c.duration_ns <= clamp(query.max_duration_ns))
    return wanted
