"""Indicators and the arithmetic of an objective."""

from __future__ import annotations

import pytest

from apm_analysis.slo.objective import Availability, Indicator, Latency, Objective
from apm_store.query import AggregateRow
from apm_store.sketch import Sketch

MS = 1_000_000


def request_row() -> AggregateRow:
    """Ten requests: six fast, one of them a 4xx; two slow; two failed, fast."""
    ok_durations = Sketch()
    ok_durations.add(100 * MS, 6)
    ok_durations.add(900 * MS, 2)
    return AggregateRow(("shop",), 0, 10, 2, 1, 0, 0, "", ok_durations, ok_durations)


INDICATORS: list[tuple[Indicator, int, str]] = [
    (Availability("shop", "GET /"), 8, "failed"),
    (Latency("shop", "GET /", 600 * MS), 6, "failed or took longer than 600\u202fms"),
    (Latency("shop", None, 1_500_000), 0, "failed or took longer than 1.5\u202fms"),
]


@pytest.mark.parametrize(("indicator", "good", "words"), INDICATORS)
def test_an_indicator_counts_good_and_total(indicator: Indicator, good: int, words: str) -> None:
    """Failed requests are never good, a 4xx is; every request counts."""
    row = request_row()

    assert (indicator.good(row), indicator.total(row), indicator.bad_words) == (good, 10, words)


def objective(target: float) -> Objective:
    return Objective("o", "O", "", "shop", target, 1, Availability("shop"))


@pytest.mark.parametrize(
    ("target", "total", "bad", "left"),
    [(0.9, 10, 1, 0.0), (0.9, 100, 0, 1.0), (0.99, 1000, 5, 0.5), (0.995, 1000, 10, -1.0), (0.5, 0, 0, None)],
)
def test_the_budget_is_signed(target: float, total: int, bad: int, left: float | None) -> None:
    """A budget that is spent exactly is 0, an overspent one is negative, without requests it is unknown."""
    assert objective(target).budget_left(total, bad) == left


def test_a_budget_spent_exactly_is_not_below_zero() -> None:
    """Every target with whole numbers comes out as plain 0, whatever binary fractions make of it."""
    lefts = [objective(1 - percent / 100).budget_left(100, percent) for percent in range(1, 100)]

    assert {str(left) for left in lefts} == {"0.0"}


def test_burn_is_the_bad_share_over_the_allowed_share() -> None:
    """At most it is 1 / (1 - target), and unknown without requests."""
    kept = objective(0.995)

    assert kept.burn(573, 52) == pytest.approx(18.15, abs=0.01)
    assert kept.burn(7, 7) == pytest.approx(kept.max_burn) == pytest.approx(200)
    assert kept.burn(0, 0) is None
