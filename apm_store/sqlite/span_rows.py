"""Selects narrow span rows: the columns, the conditions of a `TraceQuery`, and the way back to a `SpanRow`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Row, ScalarSelect, Select, and_, literal_column, not_, select

from apm_store.model import SpanKind, StatusCode
from apm_store.query import Outcome, SpanRow, TimeRange, TraceQuery
from apm_store.sqlite.bodies import clamp
from apm_store.sqlite.schema import operation, service, span, statement

# Bound parameters would keep SQLite from using the partial indexes.
IS_ENTRY: ColumnElement[bool] = span.c.is_entry == literal_column("1")
_IS_FAILED = span.c.status == int(StatusCode.ERROR)
_IS_4XX = and_(span.c.kind == int(SpanKind.SERVER), span.c.http_status >= 400, span.c.http_status < 500)
_OUTCOMES: dict[Outcome, ColumnElement[bool]] = {
    Outcome.FAILED: _IS_FAILED,
    Outcome.CLIENT_ERROR: and_(not_(_IS_FAILED), _IS_4XX),
    Outcome.OK: and_(not_(_IS_FAILED), not_(and_(_IS_4XX, span.c.http_status.is_not(None)))),
}


def span_rows() -> Select[Any]:
    """A SELECT of spans as `row_to_span_row` takes them; names come by subquery, which leaves the plan alone."""
    columns = (column for column in span.c if column.name not in ("service_id", "operation_id", "is_entry"))
    names = (
        select(service.c.name).where(service.c.id == span.c.service_id).scalar_subquery().label("service"),
        select(operation.c.name).where(operation.c.id == span.c.operation_id).scalar_subquery().label("operation"),
    )
    return select(*columns, *names)


def row_to_span_row(row: Row[Any]) -> SpanRow:
    """A row of `span_rows()` as the noun."""
    return SpanRow(
        trace_id=row.trace_id.hex(),
        span_id=row.span_id.hex(),
        parent_span_id=(row.parent_span_id or b"").hex(),
        service=row.service,
        operation=row.operation,
        kind=row.kind,
        start_ns=row.start_ns,
        duration_ns=row.duration_ns,
        is_error=row.status == StatusCode.ERROR,
        http_status=row.http_status,
    )


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


def conditions(query: TraceQuery) -> list[ColumnElement[bool]]:
    """All conditions of a query but for its attributes."""
    wanted = [starts_within(query.time_range), *row_conditions(query)]
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
    """The conditions of a query that no index serves: outcome and duration."""
    wanted = [] if query.outcome is None else [_OUTCOMES[query.outcome]]
    if query.min_duration_ns is not None:
        wanted.append(span.c.duration_ns >= clamp(query.min_duration_ns))
    if query.max_duration_ns is not None:
        wanted.append(span.c.duration_ns <= clamp(query.max_duration_ns))
    return wanted
