"""The SLOs page: which objective is shown, and in which words."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from apm_analysis.slo.openslo import load_objectives
from apm_ui.components.slo_cards import rule_list
from apm_ui.components.text import minute_clock
from apm_ui.filters import parse_filters
from apm_ui.pages import slos

SECOND_OBJECTIVE = slos.EXAMPLE.replace("checkout-succeeds", "products").replace("Checkout succeeds", "Products open")


def load(sources, search=""):
    """The model as of now."""
    return slos.load(sources, parse_filters(search, time.time_ns()))


def shown(model):
    """The page's text with ordinary spaces."""
    return str(slos.view(model)).replace("\\u202f", " ")


def test_the_example_is_a_valid_objective(tmp_path):
    """What the empty page offers to copy is read without a problem."""
    (tmp_path / "example.yaml").write_text(slos.EXAMPLE, "utf-8")

    found = load_objectives(tmp_path)

    assert (found.problems, [one.name for one in found.objectives]) == ((), ["checkout-succeeds"])


def test_without_objectives_the_page_says_where_they_go(empty_sources):
    """The directory and an example stand ready to be copied."""
    model = load(empty_sources)

    assert model.is_empty
    assert str(empty_sources.objectives_dir) in shown(model)
    assert "kind: SLO" in shown(model)


def test_a_burning_objective_is_told_with_its_numbers(filled_sources):
    """Title, gauge wording, projection and the eight windows are on the page."""
    page = shown(load(filled_sources))

    assert "1 of 1 objective is burning" in page
    assert "20 failed, 0.5 allowed so far" in page
    assert "See the 20 failed traces" in page
    assert [name in page for name in ("5 min", "30 min", "1 h", "2 h", "6 h", "1 d", "3 d", "30 d")] == [True] * 8


def test_the_worst_objective_is_chosen_unless_the_address_names_one(filled_sources):
    """`?slo=` chooses; a name that does not exist falls back to the worst."""
    text = SECOND_OBJECTIVE.replace("POST /checkout", "GET /products")
    (filled_sources.objectives_dir / "products.yaml").write_text(text, "utf-8")

    chosen = [load(filled_sources, search).selected.objective.name for search in ("", "?slo=products", "?slo=gone")]

    assert chosen == ["checkout-succeeds", "products", "checkout-succeeds"]


def test_an_objective_on_target_is_told_so(filled_sources):
    """Nothing burns, and the budget lasts."""
    text = slos.EXAMPLE.replace("POST /checkout", "GET /products")
    (filled_sources.objectives_dir / "checkout.yaml").write_text(text, "utf-8")

    page = shown(load(filled_sources))

    assert "The objective is on target" in page
    assert "At this rate the budget lasts the window." in page


def test_an_objective_without_requests_is_unknown(filled_sources):
    """No data is neither OK nor burning: a ring and a sentence, no chart."""
    text = slos.EXAMPLE.replace("POST /checkout", "GET /gone")
    (filled_sources.objectives_dir / "checkout.yaml").write_text(text, "utf-8")

    model = load(filled_sources)

    assert model.selected.state == "unknown"
    assert "not measured" in shown(model)
    assert "slos-burn-down" not in shown(model)


def test_files_that_cannot_be_read_are_named(filled_sources):
    """A mistake in one file is told and does not hide the others."""
    (filled_sources.objectives_dir / "broken.yaml").write_text("kind: [", "utf-8")

    page = shown(load(filled_sources))

    assert "broken.yaml" in page
    assert "1 of 1 objective is burning" in page


def test_an_overspent_budget_is_drawn_by_its_logarithm(filled_sources):
    """−3,900 % stays on a chart whose scale is linear down to −100 %, and the page says so and since when."""
    model = load(filled_sources)

    page = shown(model)
    figures = [one for one in slos.view(model)._traverse() if getattr(one, "figure", None)]
    layout = figures[0].figure["layout"]
    assert model.selected.budget_left == pytest.approx(-39)
    assert "log scale below −100 %" in page
    assert f"since {minute_clock(model.selected.series[0][0], model.now_ns)}; 30 d window" in page
    assert [tick.replace("\u202f", " ") for tick in layout["yaxis"]["ticktext"]] == [
        "100 %",
        "0 %",
        "−100 %",
        "−1,000 %",
    ]
    assert layout["yaxis"]["tickvals"] == pytest.approx([1, 0, -1, -2])
    assert layout["yaxis"]["range"][0] < figures[0].figure["data"][1]["y"][-1] == pytest.approx(-2.591, abs=0.001)


def test_a_rule_that_is_held_back_is_not_called_ok(filled_sources):
    """Too few requests for a verdict: a ring and the reason."""
    rule = load(filled_sources).selected.rules[0]
    held = replace(rule, is_firing=False, note="held back: 9 requests in 1 h are too few to judge")

    drawn = str(rule_list([held]))

    assert "Not judged" in drawn
    assert "held back: 9 requests" in drawn
