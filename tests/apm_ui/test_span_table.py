"""The table of a trace's spans."""

from __future__ import annotations

import pytest
from dash import html

from apm_ui.components.span_table import span_table
from apm_ui.trace_reading import SpanLine

LINES = (
    SpanLine("a" * 16, "reserve", "stock", 1, start_ns=5, duration_ns=10, self_time_ns=1, is_error=False),
    SpanLine("b" * 16, "checkout", "web", 0, start_ns=0, duration_ns=90, self_time_ns=2, is_error=False),
    SpanLine("c" * 16, "charge", "bank", 2, start_ns=9, duration_ns=20, self_time_ns=3, is_error=True),
)


def rows_of(sort: str) -> list[html.Tr]:
    """The body rows of the table in an order."""
    table = span_table(
        LINES,
        sort=sort,
        sort_href=lambda key: f"?sort={key}",
        span_href=lambda span: f"?span={span}",
        selected="b" * 16,
    )
    body = next(part for part in table.children if isinstance(part, html.Tbody))
    return list(body.children)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("start", "bac"),
        ("operation", "cba"),
        ("service", "cab"),
        ("duration", "bca"),
        ("self", "cba"),
        ("status", "cba"),
        ("nonsense", "bac"),
    ],
)
def test_every_column_sorts(sort: str, order: str) -> None:
    """Times are longest first, failures before the rest, words by alphabet; anything else is by start."""
    links = [row.children[0].children.href for row in rows_of(sort)]

    assert links == [f"?span={letter * 16}" for letter in order]


def test_the_chosen_span_is_marked() -> None:
    """The row of the span whose details are open is the selected one."""
    marks = [row.className for row in rows_of("start")]

    assert marks == ["selected", "", ""]
