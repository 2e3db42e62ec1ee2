"""Charts as plain dicts: axes, ticks, gaps, labels."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from apm_analysis.red import RedPoint
from apm_store.query import MINUTE_NS, TimeRange
from apm_ui.components.figure import (
    Line,
    duration_axis,
    escape,
    figure,
    gap_bands,
    plot_ms,
    round_ticks,
    settled,
    stacked_outcome,
    step_seconds,
    time_series,
)

START_NS = 1_764_000_000 * 10**9 // MINUTE_NS * MINUTE_NS
HOUR = TimeRange(START_NS, START_NS + 60 * MINUTE_NS)
STARTS = [START_NS + i * MINUTE_NS for i in range(60)]


def spec(component):
    """The figure inside its frame."""
    return component.children.figure


def test_a_figure_has_the_common_look_and_its_own_name():
    """The id is the pattern that callbacks listen to; the label is read aloud; zoom survives a refresh."""
    made = figure("demo", [], {"yaxis": {"title": "x"}}, label="All is well.", height=200)

    assert made.children.id == {"type": "figure", "name": "demo"}
    assert (made.to_plotly_json()["props"]["aria-label"], spec(made)["layout"]["uirevision"]) == (
        "All is well.",
        "demo",
    )
    assert spec(made)["layout"]["yaxis"]["gridcolor"] == "@line"


def test_text_is_safe_inside_a_figure():
    """Markup in telemetry is shown, not read."""
    assert escape("<b>&") == "&lt;b&gt;&amp;"


def test_times_are_drawn_in_local_time():
    """Plotly draws UTC; the shifted milliseconds read as the local clock."""
    local = datetime.fromtimestamp(START_NS // 10**9).astimezone()

    drawn = datetime.fromtimestamp(plot_ms(START_NS) / 1000, timezone.utc)
    assert drawn.replace(tzinfo=None) == local.replace(tzinfo=None)


@pytest.mark.parametrize(
    ("top", "ticks"),
    [(0, [0, 1]), (42, [0, 20, 40, 60]), (1.3, [0, 0.5, 1, 1.5]), (60, [0, 20, 40, 60]), (7, [0, 2.5, 5, 7.5])],
)
def test_ticks_are_round(top, ticks):
    """Steps are 1, 2, 2.5 or 5 times a power of ten."""
    assert round_ticks(top) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("values", "is_log", "ticks"),
    [
        ([2e6, 9e6, None], False, ["0 ms", "5 ms", "10 ms"]),
        ([2e6, 900e6], True, ["1 ms", "10 ms", "100 ms", "1 s"]),
        ([None], False, ["0 ms"]),
    ],
)
def test_durations_spread_over_a_decade_get_a_log_scale(values, is_log, ticks):
    """Ticks carry their unit."""
    axis, found = duration_axis(values)

    assert (found, [tick.replace("\u202f", " ") for tick in axis["ticktext"]]) == (is_log, ticks)


def test_missing_steps_break_a_line_and_are_marked():
    """A gap of half the hour is named with its length; a gap of one step is only a break."""
    values = [None if 10 <= i < 40 else 5e6 for i in range(60)]
    line = Line("p95", values, ["5 ms"] * 60)

    made = spec(time_series("demo", [line], STARTS, HOUR, label="x", yaxis={"range": [0, 6e6]}))
    texts = [note["text"].replace("\u202f", " ") for note in made["layout"]["annotations"]]
    assert made["data"][0]["connectgaps"] is False
    assert texts == ["no data, 30 min", "p95 5 ms"]


def test_a_short_gap_is_not_marked():
    """Only stretches that can be seen are marked."""
    assert gap_bands(STARTS, [i != 30 for i in range(60)], MINUTE_NS, HOUR)["shapes"] == []


def test_labels_at_the_end_of_lines_stand_apart():
    """Two lines that end close together keep readable names."""
    lines = [Line(name, [value], ["x"]) for name, value in (("p95", 5.0), ("p99", 5.01))]

    made = spec(time_series("demo", lines, [START_NS], HOUR, label="x", yaxis={"range": [0, 6]}, height=234))
    places = [note["y"] * 200 for note in made["layout"]["annotations"] if note["text"].startswith("p")]
    assert places[1] - places[0] >= 14


def test_failures_have_their_own_scale():
    """The strip of failures counts per minute on its own axis; the stack above counts per second."""
    points = [RedPoint(start, 120, 6, 12, 1e6, 2e6, 3e6) for start in STARTS]

    ok, client, failed = spec(stacked_outcome("demo", points, MINUTE_NS, HOUR, label="x"))["data"]
    assert (ok["y"][0], client["y"][0], failed["y"][0]) == (1.7, 0.2, 6.0)
    assert failed["yaxis"] == "y2"


def test_a_step_that_is_not_over_counts_by_what_has_passed():
    """The last bar of a live chart is not low only because its minute has just begun."""
    live = TimeRange(START_NS, START_NS + 90 * 10**9)

    assert step_seconds(START_NS + MINUTE_NS, MINUTE_NS, live) == 30


def test_a_step_that_has_hardly_begun_is_not_drawn():
    """One early request would look like a fall of the rate and of every percentile."""
    points = [RedPoint(start, 1, 0, 0, 1.0, 1.0, 1.0) for start in STARTS[:5]]
    last_ns = points[-1].start_ns

    assert len(settled(points, MINUTE_NS, last_ns + 5 * 10**9)) == 4
    assert len(settled(points, MINUTE_NS, last_ns + 40 * 10**9)) == 5
    assert len(settled(points[:2], MINUTE_NS, points[1].start_ns + 1)) == 2
