"""Writes the narrow rows and the roll-ups of a trace request, in the writer thread's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from apm_store.fingerprint import fingerprint
from apm_store.model import SpanKind, StatusCode
from apm_store.otlp_decode import decode_resource
from apm_store.query import Outcome
from apm_store.sqlite.bodies import MAX_ITEMS, clamp, item_id
from apm_store.sqlite.database_calls import DatabaseCall, seen_twice
from apm_store.sqlite.transaction import Transaction, Written

_INSERT = "INSERT OR IGNORE INTO span VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INDEXED_ATTRIBUTES = frozenset(
    (
        "http.response.status_code",
        "http.status_code",
        "db.query.text",
        "db.statement",
        "db.system.name",
        "db.system",
        "db.namespace",
        "db.name",
    )
)
_PARENT_IS_REMOTE = 0x300  # flags: "is_remote is known" (0x100) and "is_remote" (0x200)
_ENTRY_KINDS = (SpanKind.SERVER, SpanKind.CONSUMER)
_OK, _CLIENT_ERROR, _FAILED = Outcome.OK.value, Outcome.CLIENT_ERROR.value, Outcome.FAILED.value


@dataclass(slots=True)
class _Row:
    """The columns of `span` in their order; times are clamped to SQLite's integers."""

    id: int
    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes | None
    start_ns: int
    duration_ns: int
    service_id: int
    operation_id: int
    kind: int
    status: int
    is_entry: bool
    http_status: int | None
    statement_id: int | None = None

    def values(self) -> tuple[object, ...]:
        return (
            self.id,
            self.trace_id,
            self.span_id,
            self.parent_span_id,
            self.start_ns,
            self.duration_ns,
            self.service_id,
            self.operation_id,
            self.kind,
            self.status,
            self.is_entry,
            self.http_status,
            self.statement_id,
        )

    def outcome(self) -> str:
        if self.status == StatusCode.ERROR:
            return _FAILED
        is_client_error = (
            self.kind == SpanKind.SERVER and self.http_status is not None and 400 <= self.http_status < 500
        )
        return _CLIENT_ERROR if is_client_error else _OK


def write_spans(transaction: Transaction, request: Any, body_id: int, received_ns: int) -> Written:
    """Store the spans that are new, and count them in the roll-ups; the others change nothing."""
    rows = _rows(transaction, request, body_id, received_ns)
    stored = transaction.insert_new(_INSERT, [row.values() for row in rows])
    new_rows = rows if stored == len(rows) else _stored_rows(transaction, rows, body_id)
    transaction.when_stored(partial(_count, transaction, new_rows))
    starts = [row.start_ns for row in rows]
    return Written(stored, min(starts), max(starts))


def _stored_rows(transaction: Transaction, rows: list[_Row], body_id: int) -> list[_Row]:
    """Those of a body's rows that the table took."""
    sql = "SELECT id FROM span WHERE id >= ? AND id < ?"
    bounds = (item_id(body_id, 0), item_id(body_id, MAX_ITEMS))
    stored = {row[0] for row in transaction.connection.execute(sql, bounds)}
    return [row for row in rows if row.id in stored]


def _count(transaction: Transaction, rows: list[_Row]) -> None:
    """Add rows to the roll-ups."""
    for row in rows:
        outcome = row.outcome()
        key = (row.service_id, row.operation_id, row.kind, int(row.is_entry), outcome)
        transaction.span_rollup.add(row.start_ns, key, row.duration_ns, row.trace_id)
        transaction.see_service(row.service_id, row.start_ns)
        if row.statement_id is not None:
            call = (row.service_id, row.statement_id, outcome)
            transaction.statement_rollup.add(row.start_ns, call, row.duration_ns, row.trace_id)


def _rows(transaction: Transaction, request: Any, body_id: int, received_ns: int) -> list[_Row]:
    names = transaction.dictionaries
    rows: list[_Row] = []
    calls: list[DatabaseCall] = []
    for group in request.resource_spans:
        service_id = names.service_id(decode_resource(group).service_name)
        for block in group.scope_spans:
            for span in block.spans:
                hot = {pair.key: pair.value for pair in span.attributes if pair.key in _INDEXED_ATTRIBUTES}
                operation_id = names.operation_id(span.name)
                row = _row(span, hot, item_id(body_id, len(rows)), service_id, operation_id, received_ns)
                row.statement_id = _statement_id(transaction, hot) if hot else None
                if row.statement_id is not None:
                    calls.append(_call(len(rows), row, block.scope.name))
                rows.append(row)
    for index in seen_twice(calls):
        rows[index].statement_id = None
    return rows


def _row(span: Any, hot: dict[str, Any], row_id: int, service_id: int, operation_id: int, received_ns: int) -> _Row:
    start, end, kind, parent = span.start_time_unix_nano, span.end_time_unix_nano, span.kind, span.parent_span_id
    is_remote = span.flags & _PARENT_IS_REMOTE == _PARENT_IS_REMOTE
    return _Row(
        id=row_id,
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=parent or None,
        start_ns=clamp(start or received_ns),  # a span without a start is found where it arrived, and lasts 0 ns
        duration_ns=clamp(max(0, end - start)) if start else 0,
        service_id=service_id,
        operation_id=operation_id,
        kind=kind,
        status=span.status.code,
        is_entry=kind in _ENTRY_KINDS or not parent or is_remote,
        http_status=_http_status(hot) if hot else None,
    )


def _http_status(hot: dict[str, Any]) -> int | None:
    value = hot.get("http.response.status_code") or hot.get("http.status_code")
    status = value.int_value if value is not None else 0
    return status if 100 <= status <= 999 else None


def _statement_id(transaction: Transaction, hot: dict[str, Any]) -> int | None:
    text = _text(hot, "db.query.text", "db.statement")
    if not text:
        return None
    system = _text(hot, "db.system.name", "db.system")
    statement = fingerprint(text, system)
    if statement is None:
        return None
    return transaction.dictionaries.statement_id(statement, system, _text(hot, "db.namespace", "db.name"))


def _text(hot: dict[str, Any], key: str, old_key: str) -> str:
    """The text of an attribute under its present or its former name; "" when neither is a string."""
    for name in (key, old_key):
        value = hot.get(name)
        if value is not None and value.string_value:
            return str(value.string_value)
    return ""


def _call(index: int, row: _Row, scope: str) -> DatabaseCall:
    statement = (row.trace_id, row.service_id, row.statement_id)
    end_ns = row.start_ns + row.duration_ns
    return DatabaseCall(index, statement, row.span_id, row.parent_span_id or b"", row.start_ns, end_ns, scope)
