"""The waterfall of a trace: its spans as compact columns, and the element that `assets/waterfall.js` draws them in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from statistics import median_low
from typing import Any

from dash import html
from dash.development.base_component import Component

from apm_analysis.trace_tree import TraceTree
from apm_store.model import Span, SpanKind
from apm_ui.components.attributes import hyphenated

MAX_SPANS = 100_000
_MAX_DIAMONDS = 100  # per span; more cannot be told apart on one bar, and the details list every event
_MAX_LABELS = 2_000
_MAX_LABEL_CHARS = 48
_YEAR_NS = 366 * 86_400 * 1_000_000_000


class Flag:
    """What the script marks on a row; the numbers are those of `FLAG` in `assets/waterfall_layout.js`."""

    ERROR = 1
    ORPHAN = 2
    UNFINISHED = 4
    NEGATIVE = 8
    SKEW = 16
    ASYNC = 32
    CYCLE = 64
    UNTIMED = 128


def display_order(tree: TraceTree) -> Iterator[int]:
    """Indexes of `tree.nodes` as the reader sees them: whole subtrees, orphans after everything that has its root."""
    for is_orphan in (False, True):
        for root in tree.roots:
            if tree.nodes[root].is_orphan is is_orphan:
                yield from range(root, tree.nodes[root].end_of_subtree)


def waterfall_data(
    tree: TraceTree, slots: Mapping[str, int] | None = None, *, max_spans: int = MAX_SPANS
) -> dict[str, Any]:
    """The first `max_spans` spans of a tree of `Span` as columns, in display order. All times in ns.

    `start` counts from `start_ns`, the first believable start; `parent` is the distance back to the parent, 0 for
    none; `ids` are 16 hex digits each, joined; `name` and `service` are places in `names` and `services`;
    `orphans_from` is where the spans begin whose parent is missing. `slots` are the services' colour numbers.
    """
    order = [index for index, _ in zip(display_order(tree), range(max_spans), strict=False)]
    spans = [tree.nodes[index].span for index in order]
    origin_ns, end_ns = believable_range(spans)
    names, services = _dictionary(span.name for span in spans), _dictionary(span.service for span in spans)
    place = {index: row for row, index in enumerate(order)}
    flags = [_flags(tree, index, origin_ns, end_ns) for index in order]
    is_timed = [not flag & Flag.UNTIMED for flag in flags]
    return {
        "total": len(tree.nodes),
        "start_ns": str(origin_ns),
        "duration": end_ns - origin_ns,
        "root": place.get(tree.root, 0),
        "orphans_from": next((row for row, index in enumerate(order) if _is_below_orphan(tree, index)), len(order)),
        "names": list(names),
        "services": [{"name": name, "slot": (slots or {}).get(name, 10)} for name in services],
        "ids": "".join(span.span_id for span in spans),
        "name": [names[span.name] for span in spans],
        "service": [services[span.service] for span in spans],
        "parent": [
            row - place[tree.nodes[index].parent] if tree.nodes[index].parent >= 0 else 0
            for row, index in enumerate(order)
        ],
        "start": [span.start_ns - origin_ns if timed else 0 for span, timed in zip(spans, is_timed, strict=True)],
        "duration_ns": [span.duration_ns if timed else 0 for span, timed in zip(spans, is_timed, strict=True)],
        "flags": flags,
        "events": _events(spans, origin_ns),
        "labels": _labels(spans),
    }


def waterfall_json(data: Mapping[str, Any]) -> bytes:
    """The columns as compact JSON."""
    return json.dumps(data, separators=(",", ":")).encode()


def waterfall(trace_id: str, revision: str, span_id: str | None) -> Component:
    """The element that the script fills; it reads the columns again whenever `revision` changes."""
    return html.Div(
        id="trace-waterfall",
        className="waterfall-host",
        **hyphenated(data_trace=trace_id, data_revision=revision, data_span=span_id or ""),
    )


def believable_range(spans: Sequence[Span]) -> tuple[int, int]:
    """First start and last end in ns of the spans that start and end within a year of the median start.

    A span without a start time, or with one in another unit, would squeeze all others into one pixel.
    """
    if not spans:
        return 0, 0
    middle = median_low(span.start_ns for span in spans)
    timed = [span for span in spans if abs(span.start_ns - middle) <= _YEAR_NS and span.duration_ns <= _YEAR_NS]
    if not timed:
        return middle, middle
    return min(span.start_ns for span in timed), max(span.start_ns + span.duration_ns for span in timed)


def _flags(tree: TraceTree, index: int, origin_ns: int, end_ns: int) -> int:
    node = tree.nodes[index]
    span: Span = node.span
    flags = 0
    if span.is_error:
        flags |= Flag.ERROR
    if node.is_orphan:
        flags |= Flag.ORPHAN
    if node.is_cycle_cut:
        flags |= Flag.CYCLE
    if span.is_open or span.end_ns == 0:
        flags |= Flag.UNFINISHED
    elif span.end_ns < span.start_ns:
        flags |= Flag.NEGATIVE
    if not (origin_ns <= span.start_ns and span.start_ns + span.duration_ns <= end_ns):
        return flags | Flag.UNTIMED
    if node.parent >= 0:
        flags |= _flags_beside_parent(span, tree.nodes[node.parent].span)
    return flags


def _flags_beside_parent(span: Span, parent: Span) -> int:
    if span.start_ns < parent.start_ns:
        return Flag.SKEW
    # A producer, or a parent that ended before, did not wait for this span.
    if parent.kind == SpanKind.PRODUCER or span.start_ns > parent.start_ns + parent.duration_ns:
        return Flag.ASYNC
    return 0


def _is_below_orphan(tree: TraceTree, index: int) -> bool:
    # Orphans come last, so the first orphan root in display order is the first span below "Parent not received".
    return bool(tree.nodes[index].is_orphan)


def _dictionary(values: Iterator[str]) -> dict[str, int]:
    places: dict[str, int] = {}
    for value in values:
        places.setdefault(value, len(places))
    return places


def _events(spans: Sequence[Span], origin_ns: int) -> dict[str, list[int]]:
    events: dict[str, list[int]] = {"span": [], "at": [], "is_exception": []}
    for row, span in enumerate(spans):
        for event in span.events[:_MAX_DIAMONDS]:
            at_ns = min(max(event.time_ns, span.start_ns), span.start_ns + span.duration_ns)
            events["span"].append(row)
            events["at"].append(at_ns - origin_ns)
            events["is_exception"].append(int(event.name == "exception"))
    return events


def _labels(spans: Sequence[Span]) -> list[tuple[int, str]]:
    labels = ((row, _label(span)) for row, span in enumerate(spans) if span.is_error or span.attributes)
    return [(row, text) for (row, text), _ in zip(((r, t) for r, t in labels if t), range(_MAX_LABELS), strict=False)]


def _label(span: Span) -> str:
    """What a bar says beside itself: which attempt it was, and how it failed."""
    parts = []
    resend_count = span.attributes.get("http.request.resend_count")
    if isinstance(resend_count, int) and not isinstance(resend_count, bool) and resend_count > 0:
        parts.append(f"attempt {resend_count + 1}")
    if span.is_error:
        status = http_status(span)
        message = span.status_message.strip().partition("\n")[0]
        if status is not None and status >= 400:
            parts.append(str(status))
        elif message:
            parts.append(message if len(message) <= _MAX_LABEL_CHARS else message[: _MAX_LABEL_CHARS - 1] + "…")
    return ", ".join(parts)


def http_status(span: Span) -> int | None:
    """The HTTP status code of a span under its present or its former attribute name."""
    for key in ("http.response.status_code", "http.status_code"):
        value = span.attributes.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None
