"""Answers questions about log records."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select

from apm_store.model import LogRecord, Signal
from apm_store.otlp_decode import decode_log_records
from apm_store.query import LogQuery, TimeRange
from apm_store.sqlite.bodies import MAX_INT, clamp, item_id
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.schema import service
from apm_store.sqlite.segment_reader import SegmentSnapshot
from apm_store.sqlite.span_rows import id_bytes
from apm_store.sqlite.write_logs import MAX_EVENT_CHARS

_Place = tuple[int, int, int]
"""Time of a log record, then its segment and its id there: the greatest is the newest."""


def find(snapshot: Snapshot, query: LogQuery) -> list[LogRecord]:
    """The log records that meet the query, newest first; those of one time in the reverse order of arrival."""
    limit = max(0, query.limit)
    time_range = query.time_range or TimeRange(0, MAX_INT)
    segments = snapshot.segments(clamp(time_range.start_ns), clamp(time_range.end_ns), Signal.LOGS)
    service_id = None
    if query.service is not None:
        found = snapshot.rows(select(service.c.id).where(service.c.name == query.service))
        service_id = found[0].id if found else 0
    newest: list[_Place] = []
    for segment in segments:
        since_ns = newest[-1][0] if len(newest) == limit > 0 else 0
        newest = sorted((*newest, *_newest(segment, query, service_id, since_ns)), reverse=True)[:limit]
    records: dict[_Place, LogRecord] = {}
    for segment in segments:
        records |= _records(snapshot, segment, (at for at in newest if at[1] == segment.segment_id))
    return [records[at] for at in newest]


def _newest(segment: SegmentSnapshot, query: LogQuery, service_id: int | None, since_ns: int) -> list[_Place]:
    """The newest log records of one segment that meet the query, from a time on."""
    wanted, values = _conditions(query, service_id, since_ns)
    sql = f"SELECT time_ns, id FROM log_record WHERE {wanted} ORDER BY time_ns DESC, id DESC LIMIT ?"  # noqa: S608 – conditions from this file
    rows = segment.execute(sql, (*values, max(0, query.limit)))
    return [(time_ns, segment.segment_id, item) for time_ns, item in rows]


def _conditions(query: LogQuery, service_id: int | None, since_ns: int) -> tuple[str, list[int | bytes | str]]:
    """The WHERE clause of a query, and its parameters."""
    wanted: dict[str, int | bytes | str] = {"time_ns >= ?": since_ns}
    if query.time_range is not None:
        wanted["time_ns >= ?"] = max(since_ns, clamp(query.time_range.start_ns))
        wanted["time_ns < ?"] = clamp(query.time_range.end_ns)
    if query.trace_id is not None:
        wanted["trace_id = ?"] = id_bytes(query.trace_id)
    if query.span_id is not None:
        wanted["span_id = ?"] = id_bytes(query.span_id)
    if service_id is not None:
        wanted["service_id = ?"] = service_id
    if query.event_name is not None:
        wanted["event = ?"] = query.event_name[:MAX_EVENT_CHARS]
    if query.min_severity_number > 0:
        wanted["severity_number >= ?"] = query.min_severity_number
    unwanted = [name[:MAX_EVENT_CHARS] for name in query.without_events]
    holes = ", ".join("?" * len(unwanted))
    conditions = [*wanted, f"(event IS NULL OR event NOT IN ({holes}))"] if unwanted else [*wanted]
    return " AND ".join(conditions), [*wanted.values(), *unwanted]


def _records(snapshot: Snapshot, segment: SegmentSnapshot, places: Iterable[_Place]) -> dict[_Place, LogRecord]:
    """The log records at these places of one segment."""
    times = {item: time_ns for time_ns, _, item in places}
    records: dict[_Place, LogRecord] = {}
    for seq, request, positions in segment.requests(Signal.LOGS, times):
        snapshot.check()
        for position, record in decode_log_records(request, positions):
            item = item_id(seq, position)
            records[times[item], segment.segment_id, item] = record
    return records
