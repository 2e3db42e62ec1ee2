"""Projections against a plain minute-by-minute simulation, and their sentences."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from apm_analysis.slo.objective import Availability, Objective
from apm_analysis.slo.projection import Projection, project
from apm_analysis.slo.slices import Slice
from apm_store.query import HOUR_NS, MINUTE_NS

DAY_NS = 24 * HOUR_NS
NOW_NS = 20_000 * DAY_NS


def objective(target: float = 0.995, window_ns: int = 30 * DAY_NS) -> Objective:
    return Objective("o", "O", "", "shop", target, window_ns, Availability("shop"))


def hour(ago: int, total: int, bad: int) -> Slice:
    """The slice of the hour that began `ago` hours before now."""
    return Slice(NOW_NS - ago * HOUR_NS, NOW_NS - (ago - 1) * HOUR_NS, total, bad)


def plain(projection: Projection) -> str:
    return projection.sentence.replace("\u202f", " ")


def test_a_burning_budget_is_gone_in() -> None:
    """30 days of 573 requests per hour with 8.4 % left and 52 failures per hour last about 3 h 20 min."""
    slices = [hour(ago, 573, 0) for ago in range(720, 2, -1)] + [hour(2, 573, 1837), hour(1, 573, 52)]

    projection = project(objective(), slices, NOW_NS)

    assert projection.kind == "gone_in"
    assert projection.duration_ns == pytest.approx(3.5 * HOUR_NS, rel=0.05)
    assert plain(projection).startswith("At this rate the budget is gone in 3 h ")
    assert plain(projection).endswith(
        ". In the last hour 52 of 573 requests failed, 18.2 times more than the objective allows."
    )


def test_a_quiet_budget_lasts() -> None:
    """Without failures in the last hour the budget lasts the window."""
    projection = project(objective(), [hour(5, 1000, 3), hour(1, 200, 0)], NOW_NS)

    assert projection == Projection("lasts", None, "At this rate the budget lasts the window.")


@pytest.mark.parametrize(("total", "bad"), [(6, 0), (99, 9), (0, 0)])
def test_too_few_requests_are_not_projected(total: int, bad: int) -> None:
    """Less than 100 requests with less than 10 failures in the last hour say nothing."""
    projection = project(objective(0.5), [hour(9, 5000, 0), hour(1, total, bad)], NOW_NS)

    assert (projection.kind, projection.duration_ns) == ("too_few", None)
    assert plain(projection) == f"Too few requests to project: {total} in 1 h."


def test_no_requests_at_all_are_too_few() -> None:
    """An objective that was never measured has no projection."""
    assert project(objective(), [], NOW_NS).kind == "too_few"


def test_a_spent_budget_says_when_it_recovers() -> None:
    """It is back when the failures leave the window."""
    slices = [hour(29 * 24, 1000, 900), hour(1, 1000, 0)]

    projection = project(objective(), slices, NOW_NS)

    assert projection.kind == "spent"
    assert projection.duration_ns == 25 * HOUR_NS
    assert plain(projection) == "The budget is used up. At this rate it recovers in 1 d 1 h."


def test_a_spent_budget_that_keeps_burning_does_not_recover() -> None:
    """A burn rate above 1 never gives the budget back, and the sentence says how fast it burns."""
    projection = project(objective(), [hour(1, 1000, 10)], NOW_NS)

    assert (projection.kind, projection.duration_ns) == ("spent", None)
    assert plain(projection) == (
        "The budget is used up. At this rate it does not recover. "
        "In the last hour 10 of 1,000 requests failed, 2 times more than the objective allows."
    )


def test_a_spent_budget_with_few_requests_is_still_spent() -> None:
    """That the budget is used up is known even where nothing can be projected."""
    projection = project(objective(), [hour(9, 1000, 500), hour(1, 6, 1)], NOW_NS)

    assert projection.kind == "spent"
    assert plain(projection) == "The budget is used up. Too few requests to project: 6 in 1 h."


def test_a_budget_may_run_out_because_good_requests_leave_the_window() -> None:
    """When busy good days leave the window, the failures kept weigh more; the sentence does not say “more than”."""
    slices = [hour(29 * 24, 100_000, 0), hour(3, 1000, 300), hour(1, 1000, 4)]

    projection = project(objective(), slices, NOW_NS)

    assert (projection.kind, projection.duration_ns) == ("gone_in", 25 * HOUR_NS)
    assert plain(projection).endswith("4 of 1,000 requests failed, 0.8 times what the objective allows.")


counts = st.tuples(st.integers(1, 400), st.floats(0, 1), st.booleans())


@given(st.dictionaries(st.integers(1, 72), counts, min_size=1, max_size=20), st.sampled_from([0.5, 0.9, 0.99]))
def test_the_sign_change_agrees_with_a_simulation(hours: dict[int, tuple[int, float, bool]], target: float) -> None:
    """Stepping through the future in minutes finds the same moment."""
    made = [hour(ago, total, int(total * share) if fails else 0) for ago, (total, share, fails) in hours.items()]
    slices = sorted(made, key=lambda part: part.start_ns)
    kept = objective(target, 3 * DAY_NS)
    balance_now = sum((1 - target) * part.total - part.bad for part in slices)
    assume(abs(balance_now) > 1e-6)

    projection = project(kept, slices, NOW_NS)

    if "Too few" in projection.sentence:
        return
    expected = _simulate(kept, slices)
    if expected is None or projection.duration_ns is None:
        # the two may differ only where the balance grazes 0
        assert expected == projection.duration_ns or abs(_smallest_balance(kept, slices)) < 1e-6
    else:
        assert abs(projection.duration_ns - expected) <= MINUTE_NS


def _balances(kept: Objective, slices: list[Slice]) -> list[float]:
    """The balance after each coming minute of one window, if the last hour's rate goes on."""
    recent = [part for part in slices if part.end_ns > NOW_NS - HOUR_NS]
    length_ns = NOW_NS - min(part.start_ns for part in recent)
    per_minute = sum((1 - kept.target) * part.total - part.bad for part in recent) * MINUTE_NS / length_ns
    found = []
    for minute in range(1, kept.window_ns // MINUTE_NS + 1):
        edge_ns = NOW_NS + minute * MINUTE_NS - kept.window_ns
        inside = sum((1 - kept.target) * part.total - part.bad for part in slices if part.end_ns > edge_ns)
        found.append(inside + per_minute * minute)
    return found


def _simulate(kept: Objective, slices: list[Slice]) -> int | None:
    now = sum((1 - kept.target) * part.total - part.bad for part in slices)
    for minute, balance in enumerate(_balances(kept, slices), start=1):
        if balance * now <= 0:
            return minute * MINUTE_NS
    return None


def _smallest_balance(kept: Objective, slices: list[Slice]) -> float:
    return min(_balances(kept, slices), key=abs)
