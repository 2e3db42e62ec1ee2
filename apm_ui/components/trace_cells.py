"""The list of traces: one row per trace, its time split over the services."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dash.development.base_component import Component

from apm_store.query import Outcome
from apm_ui.components.durations import OUTCOME_STATES, OUTCOME_WORDS, outcome_of
from apm_ui.components.table import Arrow, GridColumn, grid
from apm_ui.components.text import MISSING, clock, count, duration, short_id
from apm_ui.theme import service_token
from apm_ui.trace_search import TraceRow


def trace_list(
    grid_id: str,
    rows: Sequence[TraceRow],
    slots: Mapping[str, int],
    *,
    now_ns: int,
    order: str,
    order_href: Callable[[str], str],
    trace_href: Callable[[TraceRow], str],
) -> Component:
    """The traces as a grid; the heads of start and duration lead to the same list in that order."""
    longest_ns = max((row.matched.duration_ns for row in rows), default=0) or 1
    cells = [_cells(row, slots, longest_ns, now_ns) | {"href": trace_href(row)} for row in rows]
    return grid(grid_id, _columns(order, order_href, cells), cells, label="Traces")


def _columns(order: str, order_href: Callable[[str], str], cells: Sequence[Mapping[str, Any]]) -> list[GridColumn]:
    newest: Arrow = "↓" if order == "newest" else ""
    slowest: Arrow = "↓" if order == "slowest" else ""
    return [
        GridColumn("Start", "start", "SpanwiseMuted", _width("start", cells), href=order_href("newest"), arrow=newest),
        GridColumn("Root operation", "name", "SpanwiseName", width=140, flex=12, max_width=_name_width(cells)),
        GridColumn("Status", "status", "SpanwiseState", width=72, is_number=True, hide="small"),
        GridColumn(
            "Duration",
            "duration",
            "SpanwiseStrong",
            _width("duration", cells),
            is_number=True,
            href=order_href("slowest"),
            arrow=slowest,
        ),
        GridColumn("Time by service", "services", "SpanwiseSegments", width=120, flex=5, hide="small"),
        GridColumn("Spans", "spans", width=66, is_number=True, hide="small"),
        GridColumn("Errors", "errors", "SpanwiseState", width=68, is_number=True, hide="small"),
        GridColumn("Trace id", "short", "SpanwiseShort", width=104, hide="narrow"),
    ]


def _width(field: str, cells: Sequence[Mapping[str, Any]]) -> int:
    """Pixels for the longest text of a column in 12 px mono, with its padding."""
    return max(84, 26 + math.ceil(7.5 * max((len(cell[field]) for cell in cells), default=0)))


def _name_width(cells: Sequence[Mapping[str, Any]]) -> int:
    """Pixels that show the longest operation in full, with its shape and padding."""
    return 56 + max((math.ceil(8 * len(_name_words(cell["name"]))) for cell in cells), default=0)


def _name_words(name: Mapping[str, str]) -> str:
    return f"{name['text']} › {name['detail']}" if name["detail"] else name["text"]


def _cells(row: TraceRow, slots: Mapping[str, int], longest_ns: int, now_ns: int) -> dict[str, Any]:
    matched, outcome = row.matched, outcome_of(row.matched)
    state = OUTCOME_STATES[outcome]
    is_failed = outcome is Outcome.FAILED
    return {
        "id": row.trace_id,
        "start": clock(matched.start_ns, now_ns),
        "name": {
            "text": row.operation,
            "detail": row.matched_operation,
            "state": state,
            "label": OUTCOME_WORDS[outcome],
        },
        "status": {
            "text": str(matched.http_status or MISSING),
            "state": "critical" if is_failed and matched.http_status else "",
        },
        "duration": duration(matched.duration_ns),
        "services": _segments(row, slots, longest_ns),
        "spans": count(row.span_count),
        "errors": {"text": count(row.error_count), "state": "critical" if row.error_count else "muted"},
        "short": {"text": short_id(row.trace_id), "full": row.trace_id},
    }


def _segments(row: TraceRow, slots: Mapping[str, int], longest_ns: int) -> dict[str, Any]:
    ordered = sorted(row.self_times, key=lambda item: slots.get(item[0], len(slots)))
    whole_ns = sum(ns for _, ns in ordered) or 1
    return {
        "share": row.matched.duration_ns / longest_ns,
        "label": ", ".join(f"{service} {duration(ns)}" for service, ns in ordered),
        "parts": [[service_token(slots.get(service, -1)), ns / whole_ns] for service, ns in ordered if ns],
    }
