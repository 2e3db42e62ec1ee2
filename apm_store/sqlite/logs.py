"""Answers questions about log records."""

from __future__ import annotations

from sqlalchemy import ColumnElement, select

from apm_store.model import LogRecord, Signal
from apm_store.otlp_decode import decode_log_records
from apm_store.query import LogQuery
from apm_store.sqlite.bodies import clamp, item_id
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.schema import log_record
from apm_store.sqlite.span_rows import id_bytes, service_id_of


def find(snapshot: Snapshot, query: LogQuery) -> list[LogRecord]:
    """The log records that meet the query, newest first."""
    newest_first = (log_record.c.time_ns.desc(), log_record.c.id.desc())
    question = select(log_record.c.id).where(*_conditions(query)).order_by(*newest_first).limit(max(0, query.limit))
    order = [row.id for row in snapshot.stream(question)]
    found: dict[int, LogRecord] = {}
    for body_id, request, positions in snapshot.requests(Signal.LOGS, order):
        found |= {item_id(body_id, position): record for position, record in decode_log_records(request, positions)}
    return [found[item] for item in order]


def _conditions(query: LogQuery) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = []
    if query.time_range is not None:
        wanted.append(log_record.c.time_ns >= clamp(query.time_range.start_ns))
        wanted.append(log_record.c.time_ns < clamp(query.time_range.end_ns))
    if query.trace_id is not None:
        wanted.append(log_record.c.trace_id == id_bytes(query.trace_id))
    if query.span_id is not None:
        wanted.append(log_record.c.span_id == id_bytes(query.span_id))
    if query.service is not None:
        wanted.append(log_record.c.service_id == service_id_of(query.service))
    if query.min_severity_number > 0:
        wanted.append(log_record.c.severity_number >= query.min_severity_number)
    return wanted
