"""Makes the narrow rows of a logs request."""

from __future__ import annotations

from typing import Any

from apm_store.otlp_decode import decode_resource
from apm_store.sqlite.bodies import clamp, item_id
from apm_store.sqlite.dictionaries import Dictionaries

INSERT_LOG_RECORD = "INSERT OR IGNORE INTO log_record VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
"""Takes the rows of `log_record_rows`."""

MAX_EVENT_CHARS = 128
"""So much of an event name is indexed."""

LogRow = tuple[int, int, int, bytes | None, bytes | None, int, int, str | None]
"""id, time_ns, observed_ns, trace_id, span_id, service_id, severity_number, event."""


def log_record_rows(names: Dictionaries, request: Any, seq: int, received_ns: int) -> list[LogRow]:
    """The rows of all log records in their order, each with its time in column 1.

    OTLP gives log records no identity, so only a repeated body is known as a duplicate. A record without a time is
    found under its observed time, and without that where it arrived.
    """
    rows: list[LogRow] = []
    item = item_id(seq, 0)
    for group in request.resource_logs:
        service_id = names.service_id(decode_resource(group).service_name)
        for scope in group.scope_logs:
            for record in scope.log_records:
                observed_ns = clamp(record.observed_time_unix_nano)
                time_ns = clamp(record.time_unix_nano) or observed_ns or received_ns
                link = (record.trace_id or None, record.span_id or None)
                event = record.event_name[:MAX_EVENT_CHARS] or None
                rows.append((item, time_ns, observed_ns, *link, service_id, record.severity_number, event))
                item += 1
    return rows
