"""Answers questions about single traces and spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import nlargest

from sqlalchemy import select

from apm_store.model import Signal, Span
from apm_store.otlp_decode import decode_spans
from apm_store.query import SpanRow, TracePage, TraceQuery, TraceSummary
from apm_store.sqlite.attribute_scan import find_with_attributes
from apm_store.sqlite.matches import find_matches
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.schema import span
from apm_store.sqlite.span_rows import id_bytes, listed, span_rows


def find(snapshot: Snapshot, query: TraceQuery, max_points: int) -> TracePage:
    """The traces that meet the query, see `TraceQuery`; a part of them when the time limit comes first."""
    find_spans = find_with_attributes if query.attributes else find_matches
    matches = find_spans(snapshot, query, share=0.6)  # the rest is for their rows
    newest = matches.newest()
    limit, items = max(0, query.limit), matches.items
    asked = newest[:limit]
    if query.order == "slowest":
        asked = nlargest(limit, newest, key=matches.durations_ns.__getitem__)  # of equals the newest comes first
    points = [items[at] for at in newest[: max(0, max_points)]]
    chosen = [items[at] for at in asked]
    rows = dict(span_rows(snapshot, span.c.id.in_(listed({*points, *chosen}))))
    traces = _summaries(snapshot, {item: rows[item] for item in chosen})
    return TracePage(traces, tuple(rows[item] for item in points), len(newest), matches.is_complete)


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


def _summaries(snapshot: Snapshot, matched: Mapping[int, SpanRow]) -> tuple[TraceSummary, ...]:
    """The matched spans, by id, with all the spans of their traces."""
    spans: dict[str, list[SpanRow]] = {row.trace_id: [] for row in matched.values()}
    trace_ids = select(span.c.trace_id).where(span.c.id.in_(listed(matched)))
    for _, row in span_rows(snapshot, span.c.trace_id.in_(trace_ids)):
        spans[row.trace_id].append(row)
    for rows in spans.values():
        rows.sort(key=lambda row: (row.start_ns, row.span_id))
    return tuple(TraceSummary(row.trace_id, row, tuple(spans[row.trace_id])) for row in matched.values())
