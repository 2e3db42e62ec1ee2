"""Writes the narrow rows of a logs request, in the writer thread's transaction."""

from __future__ import annotations

from typing import Any

from apm_store.otlp_decode import decode_resource
from apm_store.sqlite.bodies import clamp, item_id
from apm_store.sqlite.transaction import Transaction, Written

_INSERT = "INSERT INTO log_record VALUES (?, ?, ?, ?, ?, ?, ?)"


def write_log_records(transaction: Transaction, request: Any, body_id: int, received_ns: int) -> Written:
    """Store all log records; OTLP gives them no identity, so only a repeated body is known as a duplicate.

    A record without a time is found under its observed time, and without that where it arrived.
    """
    rows: list[tuple[object, ...]] = []
    times: list[int] = []
    for group in request.resource_logs:
        service_id = transaction.dictionaries.service_id(decode_resource(group).service_name)
        for block in group.scope_logs:
            for record in block.log_records:
                observed_ns = clamp(record.observed_time_unix_nano)
                time_ns = clamp(record.time_unix_nano) or observed_ns or received_ns
                row_id, link = item_id(body_id, len(rows)), (record.trace_id or None, record.span_id or None)
                rows.append((row_id, time_ns, observed_ns, *link, service_id, record.severity_number))
                times.append(time_ns)
    return Written(transaction.insert_new(_INSERT, rows), min(times), max(times))
