"""Spans that have not ended: the list of them, and how one of them says where it was."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from dash import html
from dash.development.base_component import Component

from apm_analysis.open_spans import PLACE_KEYS, is_silent
from apm_store.model import Span
from apm_ui.components.card import card
from apm_ui.components.status import status_shape, swatch
from apm_ui.components.table import Column, table
from apm_ui.components.text import count, duration, relative


def heard_text(span: Span, now_ns: int) -> str:
    """Whether an open span goes on or has gone silent: Still open; Never finished, last heard of 3 min ago."""
    if not is_silent(span, now_ns):
        return "Still open"
    return f"Never finished, last heard of {relative(span.end_ns, now_ns)}"


def place_text(span: Span, *, in_full: bool = False) -> str:
    """Where in the code an open span was, as "file:line in function"; "" if unknown."""
    path, line, function = (span.attributes.get(key) for key in PLACE_KEYS)
    if not isinstance(path, str) or not path:
        return ""
    number = f":{line}" if isinstance(line, int) and line else ""
    words = f" in {function}" if isinstance(function, str) and function else ""
    return f"{path if in_full else short_path(path)}{number}{words}"


def place(span: Span) -> Component | None:
    """Where in the code an open span was, with the file's full path on hover; None if unknown."""
    text = place_text(span)
    return html.Code(text, title=place_text(span, in_full=True)) if text else None


def short_path(path: str) -> str:
    """The last two parts of a file's path: shop/views.py."""
    return "/".join(re.split(r"[\\/]", path)[-2:])


def open_state(span: Span, now_ns: int) -> Component:
    """That an open span has not ended, when it was last heard of, and where it was."""
    is_lost, at = is_silent(span, now_ns), place(span)
    words: list[Component | str] = [html.B(heard_text(span, now_ns)), "."]
    if at is not None:
        words += [f" It {'was' if is_lost else 'is'} at ", at, "."]
    return html.Div([_shape(is_lost), html.Span(words)], className="span-status open-state")


def open_spans_card(
    spans: Sequence[Span], slots: Mapping[str, int], now_ns: int, total: str, link: Callable[[Span], str]
) -> Component:
    """The open spans of a few traces, one each; `total` says how many there are, `link` leads to a trace."""
    columns: list[Column[Span]] = [
        Column("", lambda span: _shape(is_silent(span, now_ns)), width="38px"),
        Column("Operation", lambda span: _operation(span, slots), is_name=True),
        Column("Where it was", place, width="38%", hide="small"),
        Column("Open for", lambda span: duration(span.duration_ns), is_number=True, width="96px"),
        Column("Last heard of", lambda span: _heard(span, now_ns), is_number=True, width="112px", hide="small"),
    ]
    rows = table(columns, spans, label="Spans still open", link=link, row_height=39)
    return card("Still open", total, rows, className="open-spans")


def total_text(shown: int, total: int, *, is_complete: bool) -> str:
    """How many are shown of how many: 2 requests, longest first."""
    at_least = "" if is_complete else "at least "
    if shown < total:
        return f"{shown} of {at_least}{count(total)} requests, longest first"
    return f"{at_least}{count(total)} request{'' if total == 1 else 's, longest first'}"


def _shape(is_lost: bool) -> Component:
    return status_shape("warn", "Never finished") if is_lost else status_shape("unknown", "Still open")


def _operation(span: Span, slots: Mapping[str, int]) -> Component:
    name = [html.Span(span.name or "(no name)", className="open-name"), html.Span(span.service, className="muted")]
    line = html.Span([swatch(slots.get(span.service, 10)), *name], className="open-operation")
    return html.Span([line, html.Span(place(span), className="open-place")])


def _heard(span: Span, now_ns: int) -> str:
    return relative(min(span.end_ns, now_ns), now_ns)
