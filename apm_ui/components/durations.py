"""Charts of many traces at once: their durations over time, and how the durations are distributed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from dash import html
from dash.development.base_component import Component

from apm_store.model import SpanKind
from apm_store.query import Outcome, SpanRow, TimeRange
from apm_ui.components.figure import (
    duration_axis,
    escape,
    figure,
    gap_bands,
    plot_ms,
    round_ticks,
    time_axis,
    zoom_meta,
)
from apm_ui.components.status import status_shape
from apm_ui.components.text import NARROW, count, duration

HEIGHT = 306
BINS = 48
GAP_STEPS = 60
OUTCOME_WORDS = {Outcome.OK: "OK", Outcome.CLIENT_ERROR: "4xx", Outcome.FAILED: "Failed"}
OUTCOME_STATES = {Outcome.OK: "ok", Outcome.CLIENT_ERROR: "warn", Outcome.FAILED: "critical"}
# Failed ones are drawn last, so that nothing hides them.
_MARKERS: dict[Outcome, dict[str, Any]] = {
    Outcome.OK: {"symbol": "circle", "size": 5.8, "color": "@svc-0", "opacity": 0.62},
    Outcome.CLIENT_ERROR: {"symbol": "triangle-up", "size": 8, "color": "@warn-fill", "opacity": 0.95},
    Outcome.FAILED: {"symbol": "diamond", "size": 7.6, "color": "@critical-fill", "opacity": 0.95},
}


def outcome_of(span: SpanRow) -> Outcome:
    """How a span ended: failed by its status, else 4xx when a server answered so, else OK."""
    if span.is_error:
        return Outcome.FAILED
    is_4xx = span.kind == SpanKind.SERVER and span.http_status is not None and 400 <= span.http_status < 500
    return Outcome.CLIENT_ERROR if is_4xx else Outcome.OK


def is_log_scaled(points: Sequence[SpanRow]) -> bool:
    """Whether the charts of these spans' durations need a logarithmic axis."""
    return duration_axis([point.duration_ns for point in points])[1]


def duration_scatter(
    name: str, points: Sequence[SpanRow], time_range: TimeRange, *, has_all: bool = False
) -> Component:
    """One mark per span by start and duration; `customdata` is the trace id, which a click opens.

    `has_all`: the points are of all traces of the range, so that where there is none there is no data.
    """
    axis, _ = fine_duration_axis([point.duration_ns for point in points])
    groups: Mapping[Outcome, list[SpanRow]] = {outcome: [] for outcome in _MARKERS}
    for point in points:
        groups[outcome_of(point)].append(point)
    layout = {
        "xaxis": time_axis(time_range),
        "yaxis": axis,
        "hovermode": "closest",
        "margin": {"l": 58},
        "meta": zoom_meta(time_range),
        **(_gaps(points, time_range) if has_all else {}),
    }
    failed = len(groups[Outcome.FAILED])
    label = f"{count(len(points))} traces by start and duration, {count(failed)} of them failed."
    data = [_marks(outcome, spans, time_range) for outcome, spans in groups.items()]
    return figure(name, data, layout, label=label, height=HEIGHT)


def fine_duration_axis(durations_ns: Sequence[float | None]) -> tuple[dict[str, Any], bool]:
    """A `duration_axis` that also has ticks between the powers of ten where there are few of those."""
    axis, is_log = duration_axis(durations_ns)
    if not is_log:
        return axis, is_log
    ticks = _log_ticks(*axis["range"])
    return {**axis, "tickvals": ticks, "ticktext": [_round_duration(tick) for tick in ticks]}, is_log


def _gaps(points: Sequence[SpanRow], time_range: TimeRange) -> dict[str, Any]:
    """The stretches in which no span started."""
    step_ns = max(1, time_range.duration_ns // GAP_STEPS)
    filled = {(point.start_ns - time_range.start_ns) // step_ns for point in points}
    steps = range(GAP_STEPS)
    starts = [time_range.start_ns + step * step_ns for step in steps]
    return gap_bands(starts, [step in filled for step in steps], step_ns, time_range)


def _marks(outcome: Outcome, spans: Sequence[SpanRow], time_range: TimeRange) -> dict[str, Any]:
    shift_ms = plot_ms(time_range.end_ns) - time_range.end_ns // 1_000_000
    names = {operation: escape(operation[:80]) for operation in {span.operation for span in spans}}
    # A duration of 0 has no place on a logarithmic axis; 1 ns is as low as a clock can tell.
    ys = [_digits4(max(1, span.duration_ns)) for span in spans]
    words = {y: duration(y) for y in set(ys)}
    return {
        "type": "scattergl" if len(spans) > 2_000 else "scatter",
        "mode": "markers",
        "name": OUTCOME_WORDS[outcome],
        "x": [span.start_ns // 1_000_000 + shift_ms for span in spans],
        "y": ys,
        "customdata": [span.trace_id for span in spans],
        "text": [f"{words[y]} {names[span.operation]}" for span, y in zip(spans, ys, strict=True)],
        "hovertemplate": "%{x|%H:%M:%S} %{text}<extra></extra>",
        "marker": {**_MARKERS[outcome], "line": {"width": 0}},
    }


def _digits4(ns: int) -> int:
    """A duration with four significant digits, as many as a chart can show."""
    return round(ns, 4 - len(str(ns))) if ns >= 10_000 else ns


def duration_histogram(name: str, points: Sequence[SpanRow]) -> Component:
    """How many spans took how long, in equal steps (of the logarithm when they span decades), with p50 and p95."""
    durations = sorted(max(1, point.duration_ns) for point in points)
    high = max(durations[-1], durations[0] + 1)
    is_log = high / durations[0] > 30
    scale, unscale = (math.log10, lambda x: 10.0**x) if is_log else (float, float)
    first = scale(durations[0]) if is_log else 0.0
    step = (scale(high) - first) / BINS
    edges = [first + step * index for index in range(BINS + 1)]
    counts = [0] * BINS
    for value in durations:
        counts[min(BINS - 1, int((scale(value) - first) / step))] += 1
    marks = [("p50", durations[len(durations) // 2]), ("p95", durations[int(len(durations) * 0.95)])]
    ticks = _log_ticks(first, edges[-1]) if is_log else round_ticks(high)
    counted = [tick for tick in round_ticks(max(counts)) if tick == int(tick)]
    layout = {
        "bargap": 0.04,
        "hovermode": "closest",
        "dragmode": False,
        "margin": {"l": 58, "r": 84, "t": 22},
        "xaxis": {
            "tickvals": [scale(tick) for tick in ticks],
            "ticktext": [_round_duration(tick) for tick in ticks],
            "range": [first - step, edges[-1] + step],
            "fixedrange": True,
        },
        "yaxis": {"tickvals": counted, "ticktext": [count(tick) for tick in counted]},
        "shapes": [_rule(scale(value)) for _, value in marks],
        "annotations": [
            _rule_label(scale(value), f"{word} {duration(value)}", side)
            for (word, value), side in zip(marks, ("right", "left"), strict=True)
        ],
    }
    label = f"Durations of {count(len(points))} traces: half took {duration(marks[0][1])} or less."
    return figure(
        name, [_bins(counts, edges, [duration(unscale(edge)) for edge in edges])], layout, label=label, height=HEIGHT
    )


def _log_ticks(first: float, last: float) -> list[float]:
    """Round values between two powers of ten: 1, 2 and 5 of each, fewer over two decades, only the tens over three."""
    factors = (1, 2, 5) if last - first < 2 else (1, 3) if last - first < 3 else (1,)
    ticks = [factor * 10.0**power for power in range(math.floor(first), math.ceil(last) + 1) for factor in factors]
    return [tick for tick in ticks if first <= math.log10(tick) <= last]


def _bins(counts: Sequence[int], edges: Sequence[float], words: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "bar",
        "x": [(left + right) / 2 for left, right in pairwise(edges)],
        "y": list(counts),
        "text": [f"{count(n)} traces from {words[i]} to {words[i + 1]}" for i, n in enumerate(counts)],
        "textposition": "none",
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"color": "@q4", "line": {"width": 0}},
    }


def _rule(x: float) -> dict[str, Any]:
    line = {"color": "@text", "width": 1, "dash": "dot"}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line}


def _rule_label(x: float, words: str, anchor: str) -> dict[str, Any]:
    place = {"x": x, "xanchor": anchor, "y": 1, "yref": "paper", "yanchor": "bottom"}
    return {**place, "text": words, "showarrow": False, "font": {"size": 11, "color": "@text"}}


def _round_duration(ns: float) -> str:
    number, _, unit = duration(ns).rpartition(NARROW)
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number}{NARROW}{unit}"


def duration_legend(points: Sequence[SpanRow]) -> Component:
    """The three outcomes with their shapes and counts."""
    counts = dict.fromkeys(OUTCOME_WORDS, 0)
    for point in points:
        counts[outcome_of(point)] += 1
    items = [
        html.Span([_legend_mark(outcome), f"{words} {count(counts[outcome])}"])
        for outcome, words in OUTCOME_WORDS.items()
    ]
    return html.Span(items, className="legend")


def _legend_mark(outcome: Outcome) -> Component:
    # The points of OK traces have the colour of plain volume, not of a status.
    return html.I(className="swatch round") if outcome is Outcome.OK else status_shape(OUTCOME_STATES[outcome], "")
