"""Answers questions about single traces and spans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from apm_store.api import StoreError
from apm_store.model import Signal, Span
from apm_store.otlp_decode import decode_spans, parse_request
from apm_store.query import TracePage, TraceQuery, TraceSummary
from apm_store.sqlite.block import BlockSpan
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.span_rows import id_bytes, span_rows
from apm_store.sqlite.trace_places import bodies_of, spans_of
from apm_store.sqlite.trace_search import TraceSearch


def find(snapshot: Snapshot, query: TraceQuery, max_points: int) -> TracePage:
    """The traces that meet the query, see `TraceQuery`.

    The search stops when the answer is certain, or the time limit comes first; `total` is exact where it did not.
    """
    search = TraceSearch(snapshot, query)
    limit, max_points = max(0, query.limit), max(0, max_points)
    newest = search.newest(0 if query.order == "slowest" else limit, max_points)
    asked = search.slowest(limit) if query.order == "slowest" else newest[:limit]
    found = search.spans({*newest[:max_points], *asked})
    summaries = _summaries(snapshot, search, [found[match] for match in asked])
    points = span_rows(snapshot, [found[match] for match in newest[:max_points]])
    return TracePage(summaries, tuple(points), search.total, search.is_complete)


def get(snapshot: Snapshot, trace_id: str) -> list[Span]:
    """Every span of a trace in order of start.

    Spans in damaged requests are left out; raises StoreError when none is left.
    """
    spans = {(found.span_id, found.kind): found for found in reversed(list(_spans(snapshot, id_bytes(trace_id), b"")))}
    return sorted(spans.values(), key=lambda found: (found.start_ns, found.span_id, found.kind))


def get_span(snapshot: Snapshot, trace_id: str, span_id: str) -> Span | None:
    """One span; of a server and a client that share an id, the server. Raises StoreError when it is damaged."""
    found = _spans(snapshot, id_bytes(trace_id), id_bytes(span_id)) if id_bytes(span_id) else ()
    return min(found, key=lambda span: span.kind, default=None)


def _spans(snapshot: Snapshot, trace_id: bytes, span_id: bytes) -> Iterator[Span]:
    """The spans of a trace (with an id) as they were received, the first of equals first."""
    damage: StoreError | None = None
    is_any = False
    for segment, seq in bodies_of(snapshot, trace_id) if trace_id else ():
        snapshot.check()
        try:
            body = segment.body(seq)
        except StoreError as error:
            damage = error
            continue
        request = parse_request(Signal.TRACES, body)
        for _, span in decode_spans(request, _positions(request, trace_id, span_id)):
            is_any = True
            yield span
    if damage is not None and not is_any:
        raise damage


def _positions(request: Any, trace_id: bytes, span_id: bytes) -> set[int]:
    spans = (span for group in request.resource_spans for scope in group.scope_spans for span in scope.spans)
    return {
        position
        for position, span in enumerate(spans)
        if span.trace_id == trace_id and (not span_id or span.span_id == span_id)
    }


def _summaries(snapshot: Snapshot, search: TraceSearch, matched: Sequence[BlockSpan]) -> tuple[TraceSummary, ...]:
    """The matched spans with all the spans of their traces."""
    missing = [span.trace_id for span in matched if span.trace_id not in search.resolved]
    spans = {**search.resolved, **spans_of(snapshot, missing)}
    named = iter(span_rows(snapshot, [row for span in matched for row in (span, *spans[span.trace_id])]))
    return tuple(
        TraceSummary(row.trace_id, row, tuple(next(named) for _ in spans[span.trace_id]))
        for span, row in ((span, next(named)) for span in matched)
    )
