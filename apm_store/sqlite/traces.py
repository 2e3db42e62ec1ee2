"""Answers questions about single traces and spans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Row, Select, func, select

from apm_store.api import StoreTimeoutError
from apm_store.model import Signal, Span
from apm_store.otlp_decode import decode_spans
from apm_store.query import SpanRow, TracePage, TraceQuery, TraceSummary
from apm_store.sqlite.attribute_scan import find_with_attributes
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.schema import span
from apm_store.sqlite.span_rows import conditions, id_bytes, row_to_span_row, span_rows

_AT_ONCE = 500


def find(snapshot: Snapshot, query: TraceQuery, max_points: int) -> TracePage:
    """The traces that meet the query, see `TraceQuery`; a part of them when the time limit comes first."""
    if query.attributes:
        return _find_by_attributes(snapshot, query, max_points)
    matching = select(span.c.id, span.c.trace_id).where(*conditions(query))
    newest_first = matching.order_by(span.c.start_ns.desc())
    is_slowest = query.order == "slowest"
    newest, is_complete = _first_spans(snapshot, newest_first, max(max_points, 0 if is_slowest else query.limit), 0.4)
    asked = newest
    if is_slowest and is_complete:
        slowest_first = matching.order_by(span.c.duration_ns.desc(), span.c.start_ns.desc())
        asked, is_complete = _first_spans(snapshot, slowest_first, query.limit, share=0.6)
    matched = _rows_by_id(snapshot, {*newest[: max(0, max_points)], *asked[: query.limit]})
    traces = _summaries(snapshot, [matched[item] for item in asked[: query.limit]])
    points = _points([matched[item] for item in newest[: max(0, max_points)]], max_points)
    total = max(len(newest), len(asked))
    if is_complete:
        total, is_complete = _total(snapshot, query, total)
    return TracePage(traces, points, total, is_complete)


def get(snapshot: Snapshot, trace_id: str) -> list[Span]:
    """Every span of a trace in order of start."""
    items = snapshot.rows(select(span.c.id).where(span.c.trace_id == id_bytes(trace_id)))
    spans = _spans(snapshot, [row.id for row in items])
    return sorted(spans, key=lambda found: (found.start_ns, found.span_id, found.kind))


def get_span(snapshot: Snapshot, trace_id: str, span_id: str) -> Span | None:
    """One span; of a server and a client that share an id, the server."""
    is_wanted = (span.c.trace_id == id_bytes(trace_id)) & (span.c.span_id == id_bytes(span_id))
    items = snapshot.rows(select(span.c.id).where(is_wanted).order_by(span.c.kind).limit(1))
    return next(iter(_spans(snapshot, [row.id for row in items])), None)


def _spans(snapshot: Snapshot, items: Sequence[int]) -> list[Span]:
    return [
        found
        for _, request, positions in snapshot.requests(Signal.TRACES, items)
        for _, found in decode_spans(request, positions)
    ]


def _first_spans(snapshot: Snapshot, question: Select[Any], count: int, share: float) -> tuple[list[int], bool]:
    """The id of the first span of each of the first `count` traces, and whether the time sufficed to find them."""
    found: dict[bytes, int] = {}
    try:
        with snapshot.within(share):
            for row in snapshot.stream(question) if count > 0 else ():
                found.setdefault(row.trace_id, row.id)
                if len(found) >= count:
                    break
    except StoreTimeoutError:
        return list(found.values()), False
    return list(found.values()), True


def _rows_by_id(snapshot: Snapshot, items: Iterable[int]) -> dict[int, Row[Any]]:
    ids = sorted(items)
    return {
        row.id: row
        for start in range(0, len(ids), _AT_ONCE)
        for row in snapshot.stream(span_rows().where(span.c.id.in_(ids[start : start + _AT_ONCE])))
    }


def _total(snapshot: Snapshot, query: TraceQuery, found: int) -> tuple[int, bool]:
    """How many traces match; `found` and false when counting takes too long."""
    try:
        count = snapshot.rows(select(func.count(span.c.trace_id.distinct())).where(*conditions(query)))
    except StoreTimeoutError:
        return found, False
    return int(count[0][0]), True


def _find_by_attributes(snapshot: Snapshot, query: TraceQuery, max_points: int) -> TracePage:
    matches, is_complete = find_with_attributes(snapshot, query, share=0.8)
    newest = _one_per_trace(sorted(matches, key=lambda row: -row.start_ns))
    asked = newest
    if query.order == "slowest":
        asked = _one_per_trace(sorted(matches, key=lambda row: (-row.duration_ns, -row.start_ns)))
    traces = _summaries(snapshot, asked[: query.limit])
    return TracePage(traces, _points(newest, max_points), len(newest), is_complete)


def _one_per_trace(rows: Iterable[Row[Any]]) -> list[Row[Any]]:
    found: dict[bytes, Row[Any]] = {}
    for row in rows:
        found.setdefault(row.trace_id, row)
    return list(found.values())


def _points(rows: Sequence[Row[Any]], max_points: int) -> tuple[SpanRow, ...]:
    return tuple(map(row_to_span_row, rows[: max(0, max_points)]))


def _summaries(snapshot: Snapshot, matched: Sequence[Row[Any]]) -> tuple[TraceSummary, ...]:
    """The matched spans with all the spans of their traces."""
    spans: dict[bytes, list[SpanRow]] = {row.trace_id: [] for row in matched}
    trace_ids = list(spans)
    for start in range(0, len(trace_ids), _AT_ONCE):
        of_traces = span.c.trace_id.in_(trace_ids[start : start + _AT_ONCE])
        for row in snapshot.stream(span_rows().where(of_traces)):
            spans[row.trace_id].append(row_to_span_row(row))
    for rows in spans.values():
        rows.sort(key=lambda row: (row.start_ns, row.span_id))
    return tuple(TraceSummary(row.trace_id.hex(), row_to_span_row(row), tuple(spans[row.trace_id])) for row in matched)
