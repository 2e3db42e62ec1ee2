"""Charts: plain Plotly dicts whose colours are token names, drawn by the React component in assets/figures.js.

Telemetry text inside a figure (labels, ticks, hover) goes through `escape`: Plotly reads a few HTML tags.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from dash import html
from dash.development.base_component import Component

from apm_analysis.red import RedPoint
from apm_store.query import TimeRange
from apm_ui.components import text
from apm_ui.components.attributes import hyphenated
from apm_ui.components.svg import BrowserComponent
from apm_ui.theme import figure_layout

Json = dict[str, Any]
# Two labels at the end of lines keep this distance, in pixels.
LABEL_GAP = 14
# A stretch without data is marked when it is at least this share of the chart.
GAP_SHARE = 0.12


class Figure(BrowserComponent):
    """dcc.Graph for figures with `@token` colours; its click, selection and relayout data are the Graph's."""

    _type = "Figure"
    answers = ("clickData", "selectedData", "hoverData", "relayoutData")

    def __init__(self, id: Json, figure: Json, height: int) -> None:  # noqa: A002  # Dash's name
        super().__init__(id=id, figure=figure, height=height)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a time series: values by step (None breaks the line), and what hover and the end label say."""

    name: str
    values: Sequence[float | None]
    shown: Sequence[str]
    color: str = "@text"
    width: float = 1.6
    dash: str = "solid"
    fill: bool = False


def escape(words: str) -> str:
    """Telemetry text that is safe inside a figure."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def figure(name: str, data: Sequence[Json], layout: Json, *, label: str, height: int) -> Component:
    """A chart with the id `{"type": "figure", "name": name}`; `label` is one sentence that states what it shows.

    `layout` is laid over `theme.figure_layout()`; a refresh keeps the reader's zoom.
    """
    spec = {"data": list(data), "layout": _merge(figure_layout(), {"height": height, "uirevision": name, **layout})}
    graph = Figure(id={"type": "figure", "name": name}, figure=spec, height=height)
    return html.Div(graph, className="figure", role="img", style={"height": height}, **hyphenated(aria_label=label))


def _merge(below: Json, above: Json) -> Json:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def plot_ms(ns: int) -> int:
    """A moment for a time axis: milliseconds, shifted so that Plotly, which draws UTC, shows local time."""
    return ns // 1_000_000 + _zone_offset_ms(ns)


def _zone_offset_ms(ns: int) -> int:
    offset = datetime.fromtimestamp(ns // 1_000_000_000).astimezone().utcoffset()
    return round(offset.total_seconds() * 1000) if offset else 0


def time_axis(time_range: TimeRange) -> Json:
    """The x axis over a time range, with few ticks at round times; dragging over it zooms the whole page."""
    return {
        "type": "date",
        "range": [plot_ms(time_range.start_ns), plot_ms(time_range.end_ns)],
        "nticks": 6,
        "tickformatstops": [
            {"dtickrange": [None, 59_999], "value": "%H:%M:%S"},
            {"dtickrange": [60_000, 43_200_000], "value": "%H:%M"},
            {"dtickrange": [43_200_000, None], "value": "%-d %b"},
        ],
        "hoverformat": "%-d %b %H:%M:%S",
    }


def zoom_meta(time_range: TimeRange) -> Json:
    """What the browser needs to turn a dragged part of the time axis into the page's time range."""
    return {"zoomsTime": True, "offsetMs": _zone_offset_ms(time_range.end_ns)}


def time_series(
    name: str,
    lines: Sequence[Line],
    starts_ns: Sequence[int],
    time_range: TimeRange,
    *,
    label: str,
    yaxis: Json,
    height: int = 230,
) -> Component:
    """Lines over time, each named with its last value at its right end; `yaxis` must give its `range`."""
    xs = [plot_ms(start_ns) for start_ns in starts_ns]
    has_data = [any(values) for values in zip(*(line.values for line in lines), strict=True)]
    step_ns = starts_ns[1] - starts_ns[0] if len(starts_ns) > 1 else time_range.duration_ns
    gaps = gap_bands([start_ns - step_ns // 2 for start_ns in starts_ns], has_data, step_ns, time_range)
    layout = {
        "margin": {"r": 92},
        "xaxis": time_axis(time_range),
        "yaxis": yaxis,
        "shapes": gaps["shapes"],
        "annotations": [*gaps["annotations"], *_end_labels(lines, yaxis, height)],
        "meta": zoom_meta(time_range),
    }
    return figure(name, [_line_trace(line, xs) for line in lines], layout, label=label, height=height)


def _line_trace(line: Line, xs: Sequence[int]) -> Json:
    is_lonely = sum(value is not None for value in line.values) == 1
    return {
        "type": "scatter",
        "mode": "lines+markers" if is_lonely else "lines",
        "name": line.name,
        "x": list(xs),
        "y": list(line.values),
        "customdata": list(line.shown),
        "hovertemplate": "%{customdata}",
        "connectgaps": False,
        "line": {"color": line.color, "width": line.width, "dash": line.dash, "shape": "linear"},
        "marker": {"size": 4, "color": line.color},
        **({"fill": "tozeroy", "fillcolor": f"{line.color}/13"} if line.fill else {}),
    }


def _end_labels(lines: Sequence[Line], axis: Json, height: int) -> list[Json]:
    """Each line's name and last value at its right end, moved apart where they would overlap."""
    is_log, (low, high) = axis.get("type") == "log", axis["range"]
    plot_height = height - 34
    found: list[tuple[float, str]] = []
    for line in lines:
        last = next((i for i in reversed(range(len(line.values))) if line.values[i] is not None), None)
        if last is not None:
            value = line.values[last] or 0.0
            place = math.log10(value) if is_log and value > 0 else value
            words = f"{escape(line.name)}{text.NARROW}{line.shown[last]}"
            found.append(((place - low) / ((high - low) or 1) * plot_height, words))
    labels: list[Json] = []
    floor = -float(LABEL_GAP)
    for y, words in sorted(found):
        floor = max(y, floor + LABEL_GAP)
        labels.append(_end_label(floor / plot_height, words))
    return labels


def _end_label(y: float, words: str) -> Json:
    place = {"x": 1, "xref": "paper", "xanchor": "left", "xshift": 6, "y": y, "yref": "paper", "yanchor": "middle"}
    return {**place, "text": words, "showarrow": False, "font": {"size": 11, "color": "@text"}, "align": "left"}


def gap_bands(starts_ns: Sequence[int], has_data: Sequence[bool], step_ns: int, time_range: TimeRange) -> Json:
    """Shapes and labels for the stretches of at least GAP_SHARE of the range in which nothing was measured."""
    shapes, annotations = [], []
    edges = [time_range.start_ns, *(at for at, has in zip(starts_ns, has_data, strict=True) if has), time_range.end_ns]
    for before, after in pairwise(edges):
        begin = before if before == time_range.start_ns else before + step_ns
        if after - begin < max(2 * step_ns, time_range.duration_ns * GAP_SHARE):
            continue
        box = {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "x0": plot_ms(begin),
            "x1": plot_ms(after),
            "y0": 0,
            "y1": 1,
        }
        shapes.append({**box, "fillcolor": "@track", "opacity": 0.6, "layer": "below", "line": {"width": 0}})
        words = f"no data, {text.duration((after - begin) // text.MINUTE_NS * text.MINUTE_NS)}"
        place = {"x": plot_ms((begin + after) // 2), "xref": "x", "y": 1, "yref": "paper", "yanchor": "top"}
        annotations.append({**place, "text": words, "showarrow": False, "font": {"size": 11, "color": "@muted"}})
    return {"shapes": shapes, "annotations": annotations}


def duration_axis(values: Sequence[float | None]) -> tuple[Json, bool]:
    """A y axis for nanoseconds, and whether it is logarithmic: it is when the values span more than a decade."""
    present = [value for value in values if value]
    if not present:
        return {"range": [0, 1], "tickvals": [0], "ticktext": [f"0{text.NARROW}ms"]}, False
    low, high = min(present), max(present)
    if high / low <= 10:
        ticks = round_ticks(high)
        return {"range": [0, max(high, ticks[-1]) * 1.06], **_duration_ticks(ticks)}, False
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = [10.0**power for power in range(first, last + 1)]
    span = [math.log10(low) - 0.15, math.log10(high) + 0.15]
    return {"type": "log", "range": span, "rangemode": "normal", **_duration_ticks(ticks)}, True


def _duration_ticks(ticks: Sequence[float]) -> Json:
    return {"tickvals": list(ticks), "ticktext": [_round_duration(tick) for tick in ticks]}


def _round_duration(ns: float) -> str:
    shown = text.duration(ns)
    number, _, unit = shown.rpartition(text.NARROW)
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number}{text.NARROW}{unit}"


def round_ticks(top: float) -> list[float]:
    """Three or four round values from 0 up to `top` or just above."""
    if top <= 0:
        return [0.0, 1.0]
    step = top / 3
    size = 10.0 ** math.floor(math.log10(step))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= step * 0.999)
    return [step * i for i in range(math.ceil(top / step - 1e-9) + 1)]


def stacked_outcome(
    name: str, steps: Sequence[RedPoint], step_ns: int, time_range: TimeRange, *, label: str, height: int = 230
) -> Component:
    """Requests per second by outcome; failures have their own strip below with their own scale."""
    xs = [plot_ms(step.start_ns + step_ns // 2) for step in steps]
    timed = [(step, step_seconds(step.start_ns, step_ns, time_range)) for step in steps]
    ok = [(step.count - step.failed_count - step.client_error_count) / seconds for step, seconds in timed]
    client = [step.client_error_count / seconds for step, seconds in timed]
    failed = [step.failed_count * 60 / seconds for step, seconds in timed]
    top_ticks = round_ticks(max((a + b for a, b in zip(ok, client, strict=True)), default=0))
    gaps = gap_bands([step.start_ns for step in steps], [step.count > 0 for step in steps], step_ns, time_range)
    low_top = round_ticks(max(failed, default=0))[-1]
    layout = {
        "barmode": "stack",
        "xaxis": {**time_axis(time_range), "anchor": "y2"},
        "yaxis": {"domain": [0.36, 1], **_number_ticks(top_ticks)},
        "yaxis2": {**figure_layout()["yaxis"], "domain": [0, 0.24], **_number_ticks([0, low_top])},
        "shapes": gaps["shapes"],
        "annotations": [*gaps["annotations"], _strip_title("failed per minute")],
        "meta": zoom_meta(time_range),
    }
    width = step_ns // 1_000_000
    data = [
        _bars("OK", xs, ok, width, "@bar", [text.rate(value, "req") for value in ok]),
        _bars("4xx", xs, client, width, "@warn-fill", [text.rate(value, "req") for value in client]),
        _bars("Failed", xs, failed, width, "@critical-fill", [f"{text.digits3(v)}{text.NARROW}/min" for v in failed]),
    ]
    data[2]["yaxis"] = "y2"
    return figure(name, data, layout, label=label, height=height)


def settled(points: Sequence[RedPoint], step_ns: int, end_ns: int) -> Sequence[RedPoint]:
    """The steps without a last one that has hardly begun: a few requests would look like a sudden change.

    While there are only a few steps with data, all are kept.
    """
    is_young = bool(points) and end_ns - points[-1].start_ns < step_ns // 2
    has_history = sum(point.count > 0 for point in points) > 3
    return points[:-1] if is_young and has_history else points


def step_seconds(start_ns: int, step_ns: int, time_range: TimeRange) -> float:
    """How long a step lasted so far; the last one of a range that ends now is not over yet."""
    # Below ten seconds a rate jumps with every single request.
    return max(10.0, (min(start_ns + step_ns, time_range.end_ns) - start_ns) / text.SECOND_NS)


def _bars(name: str, xs: Sequence[int], ys: Sequence[float], width_ms: int, color: str, shown: Sequence[str]) -> Json:
    return {
        "type": "bar",
        "name": name,
        "x": list(xs),
        "y": list(ys),
        "width": width_ms * 0.88,
        "customdata": list(shown),
        "hovertemplate": "%{customdata}",
        "marker": {"color": color, "line": {"width": 0}},
    }


def _number_ticks(ticks: Sequence[float]) -> Json:
    shown = [f"{tick:,.3f}".rstrip("0").rstrip(".") for tick in ticks]
    return {"tickvals": list(ticks), "ticktext": shown, "range": [0, ticks[-1] * 1.04]}


def _strip_title(words: str) -> Json:
    place = {"xref": "paper", "yref": "paper", "x": 0, "y": 0.25, "xanchor": "left", "yanchor": "bottom"}
    return {**place, "text": words, "showarrow": False, "font": {"size": 11, "color": "@muted"}}
