"""The spans of a trace as a plain table that can be sorted by every column."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dash import dcc, html
from dash.development.base_component import Component

from apm_ui.components.span_details import offset
from apm_ui.components.status import service_name, status_shape
from apm_ui.components.table import Arrow, Column, table
from apm_ui.components.text import duration
from apm_ui.trace_reading import SpanLine

_SORTS: dict[str, Callable[[SpanLine], tuple[str | int, int]]] = {
    "start": lambda line: (line.start_ns, -line.duration_ns),
    "operation": lambda line: (line.operation, line.start_ns),
    "service": lambda line: (line.service, line.start_ns),
    "duration": lambda line: (-line.duration_ns, line.start_ns),
    "self": lambda line: (-line.self_time_ns, line.start_ns),
    "status": lambda line: (not line.is_error, line.start_ns),
}


def span_table(
    lines: Sequence[SpanLine],
    *,
    sort: str,
    sort_href: Callable[[str], str],
    span_href: Callable[[str], str],
    selected: str | None,
) -> Component:
    """One row per span. `sort` is a key of the columns (start for any other word), `selected` a span id."""
    sort = sort if sort in _SORTS else "start"

    def head(key: str, title: str) -> Component:
        return dcc.Link(title, href=sort_href(key))

    def arrow(key: str) -> Arrow:
        return "" if key != sort else "↓" if key in {"duration", "self"} else "↑"

    def number(key: str, title: str, cell: Callable[[SpanLine], str], hide: bool = False) -> Column[SpanLine]:
        width = "100px"
        return Column(head(key, title), cell, True, width=width, arrow=arrow(key), hide="small" if hide else "")

    columns = (
        Column(head("operation", "Operation"), _operation, is_name=True, arrow=arrow("operation")),
        Column(head("service", "Service"), _service, width="22%", arrow=arrow("service"), hide="small"),
        number("start", "Start", lambda line: offset(line.start_ns), hide=True),
        number("duration", "Duration", lambda line: duration(line.duration_ns)),
        number("self", "Self time", lambda line: duration(line.self_time_ns), hide=True),
        Column(head("status", "Status"), _status, width="90px", arrow=arrow("status")),
    )
    return table(
        columns,
        sorted(lines, key=_SORTS[sort]),
        label="Spans of this trace",
        link=lambda line: span_href(line.span_id),
        is_selected=lambda line: line.span_id == selected,
        row_height=28,
    )


def _operation(line: SpanLine) -> str:
    return line.operation or "(no name)"


def _service(line: SpanLine) -> Component:
    return service_name(line.service, line.slot)


def _status(line: SpanLine) -> Component | None:
    return html.Span([status_shape("critical", "Failed"), " failed"]) if line.is_error else None
