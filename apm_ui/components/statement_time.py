"""Database time over time, stacked by statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dash import html
from dash.development.base_component import Component

from apm_analysis.slow_queries import StatementSeries
from apm_store.query import MINUTE_NS, TimeRange
from apm_ui.components.figure import duration_axis, escape, figure, gap_bands, plot_ms, time_axis, zoom_meta
from apm_ui.components.sql import statement_name
from apm_ui.components.text import count, duration

# The most expensive statement has the strongest colour and stands at the bottom.
COLOURS = ("q6", "q5", "q4", "q3", "q2")
HEIGHT = 230


def statement_time(
    name: str, series: Sequence[StatementSeries], texts: Mapping[str, str], step_ns: int, time_range: TimeRange
) -> Component:
    """The most expensive statements as stacked bars, all others as one; `texts` are the statements by id."""
    top, others = series[: len(COLOURS) - 1], series[len(COLOURS) - 1 :]
    stacks = [(statement_name(texts.get(one.statement_id, "")), [p.total_ns for p in one.points]) for one in top]
    if others:
        sums = [sum(point.total_ns for point in step) for step in zip(*(one.points for one in others), strict=True)]
        stacks.append((f"{count(len(others))} {'other' if len(others) == 1 else 'others'}", sums))
    starts = [point.start_ns for point in series[0].points] if series else []
    per_minute = MINUTE_NS / step_ns
    tops = [sum(values) * per_minute for values in zip(*(values for _, values in stacks), strict=True)]
    axis, _ = duration_axis([max(tops, default=0)])
    data = [
        _bars(words, [value * per_minute for value in values], starts, step_ns, colour)
        for (words, values), colour in zip(stacks, COLOURS, strict=False)
    ]
    layout = {
        "barmode": "stack",
        "xaxis": time_axis(time_range),
        "yaxis": axis,
        "meta": zoom_meta(time_range),
        **gap_bands(starts, [top > 0 for top in tops], step_ns, time_range),
    }
    label = f"Database time by statement; {stacks[0][0]} takes the most." if stacks else "No database time."
    marks = [_legend(words, colour) for (words, _), colour in zip(stacks, COLOURS, strict=False)]
    legend = html.Div(marks, className="legend legend-below")
    return html.Div([figure(name, data, layout, label=label, height=HEIGHT), legend])


def _bars(words: str, values: Sequence[float], starts: Sequence[int], step_ns: int, colour: str) -> dict[str, Any]:
    return {
        "type": "bar",
        "name": escape(words),
        "x": [plot_ms(start + step_ns // 2) for start in starts],
        "y": list(values),
        "width": step_ns / 1_000_000 * 0.88,
        "customdata": [duration(value) for value in values],
        "hovertemplate": "%{customdata}",
        "marker": {"color": f"@{colour}", "line": {"width": 0}},
    }


def _legend(words: str, colour: str) -> Component:
    return html.Span([html.I(className="swatch", style={"background": f"var(--{colour})"}), words])
