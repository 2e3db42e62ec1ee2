"""Small components: shapes, sparklines, gauges, cards, states."""

from __future__ import annotations

import json

import pytest
from plotly.utils import PlotlyJSONEncoder

from apm_ui.components.attributes import hyphenated
from apm_ui.components.card import Kpi, drawer, header, kpi_row, note
from apm_ui.components.empty import Listener, error_panel, explained, first_start, insufficient, nothing_matches
from apm_ui.components.gauge import gauge, inline_bar
from apm_ui.components.icons import ICONS, icon
from apm_ui.components.sparkline import sparkline
from apm_ui.components.status import status_shape, tag
from apm_ui.page import Page
from apm_ui.pages import PAGES


def tags(svg):
    """The names of the drawn shapes."""
    return [node[0] for node in svg.nodes]


@pytest.mark.parametrize(
    ("state", "shape", "word"),
    [
        ("ok", "circle", "OK"),
        ("warn", "path", "Warning"),
        ("critical", "path", "Critical"),
        ("unknown", "circle", "Unknown"),
    ],
)
def test_a_status_has_a_shape_and_a_word(state, shape, word):
    """Colour is never alone."""
    drawn = status_shape(state)

    assert (tags(drawn), drawn.label) == ([shape], word)


def test_a_gap_breaks_a_sparkline():
    """Missing values make two lines with a dashed base between them, never a line through zero."""
    assert tags(sparkline([1, 2, None, None, 3, 4])) == ["line", "path", "path", "path", "path", "circle"]
    assert tags(sparkline([])) == ["line"]
    assert tags(sparkline([1, 2, None])) == ["path", "path"]


def test_a_sparkline_stays_inside_its_box():
    """Values below zero are drawn on the base line."""
    line = sparkline([1.0, -20.0], height=22).nodes[1][1]["d"]

    assert line == "M2.0 2.5L88.0 19.5"


@pytest.mark.parametrize(("left", "width"), [(0.084, "8.4%"), (1, "100.0%"), (-0.12, "100.0%"), (0, "0.0%")])
def test_a_gauge_shows_what_is_left(left, width):
    """An overspent budget is a full bar, which its colour tells apart."""
    assert gauge(left, "critical").children.style["width"] == width


def test_a_gauge_without_data_is_empty():
    """Not measured looks different from nothing left."""
    assert gauge(None, "unknown").className == "gauge empty"


def test_an_inline_bar_never_leaves_its_cell():
    """Shares beyond the maximum are cut."""
    assert inline_bar(1.7, "9 s").children[0].children.style["width"] == "100.0%"


def test_a_key_figure_sets_its_unit_apart():
    """The unit is smaller than the number."""
    value = kpi_row([Kpi("Latency", "412\u202fms", "p50 38 ms")]).children[0].children[1].children[0]

    assert [value.children[0], value.children[1].children] == ["412", "ms"]


def test_every_page_has_an_icon():
    """The navigation finds the icon that a page names."""
    assert {module.PAGE.icon for module in PAGES} <= ICONS.keys()
    assert icon("overview").label == ""


def test_every_state_says_what_to_do():
    """The states carry their words and their next step."""
    shown = "".join(
        map(
            str,
            [
                first_start([Listener("OTLP/HTTP", "127.0.0.1:4318", True)]),
                nothing_matches("573 traces are in the range.", [tag("x")]),
                error_panel("Latency could not be read", "It took too long.", "StoreTimeoutError"),
                explained("storefront sent no client spans.", "No edges", "spanwise doctor"),
                insufficient("Not enough data: 38 requests."),
                note("Showing 5 of 10.", "warn"),
                header("Title", "sub"),
                drawer("Span", "GET /", "body", close_href="/x"),
            ],
        )
    )

    for words in (
        "spanwise run -- python app.py",
        "spanwise demo",
        "Try again",
        "StoreTimeoutError",
        "38 requests",
        "/x",
    ):
        assert words in shown


def test_components_can_be_sent():
    """What only the browser draws becomes plain JSON with its namespace."""
    sent = json.loads(json.dumps(icon("menu"), cls=PlotlyJSONEncoder))

    assert (sent["namespace"], sent["type"], sent["props"]["width"]) == ("spanwise", "Svg", 16)


def test_empty_attributes_are_left_out():
    """A hyphenated attribute without a value is not sent."""
    assert hyphenated(aria_label="x", data_copy="") == {"aria-label": "x"}


def test_pages_are_told_apart_by_slug_and_path():
    """No two pages share their slug or address."""
    pages: list[Page] = [module.PAGE for module in PAGES]

    assert len({page.slug for page in pages}) == len({page.path for page in pages}) == len(pages)
