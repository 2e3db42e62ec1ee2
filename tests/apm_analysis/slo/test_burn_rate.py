"""Budgets, burn rates and rules over a real store, against raw counting."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from apm_analysis.slo.burn_rate import RULES, SloStatus, evaluate, evaluate_all
from apm_analysis.slo.objective import Availability, Latency, Objective
from apm_store.api import Store
from apm_store.query import HOUR_NS, MINUTE_NS

DAY_NS = 24 * HOUR_NS
NOW_NS = 1_764_000_000_000_000_000 + 34 * MINUTE_NS + 12_345_678_901
Write = Callable[..., None]


def objective(target: float = 0.995, window_ns: int = 30 * DAY_NS, operation: str | None = "GET /") -> Objective:
    return Objective("works", "Works", "", "shop", target, window_ns, Availability("shop", operation))


def requests(ago_ns: int, count: int, bad: int = 0) -> list[tuple[int, float, bool]]:
    """So many requests of 10 ms that start at one moment, the bad ones failed."""
    return [(NOW_NS - ago_ns, 10, number < bad) for number in range(count)]


def plain(text: str) -> str:
    return text.replace("\u202f", " ")


def test_the_factors_are_those_of_the_workbook() -> None:
    """Over 30 days the rules fire at 14.4, 6, 3 and 1 times the allowed rate."""
    factors = [rule.factor(30 * DAY_NS) for rule in RULES]

    assert factors == pytest.approx([14.4, 6, 3, 1])
    assert [(rule.severity, rule.speed) for rule in RULES] == [
        ("page", "quick"),
        ("page", "slow"),
        ("ticket", "quick"),
        ("ticket", "slow"),
    ]


def test_nothing_measured_is_unknown(store: Store) -> None:
    """Without requests there is no budget, no burn and no firing rule, and the reason says what is missing."""
    status = evaluate(objective(), store, NOW_NS)

    assert (status.state, status.total, status.attained, status.budget_left) == ("unknown", 0, None, None)
    assert plain(status.reason) == "No request to “GET /” of shop was measured in the last 30 d."
    assert all(window.burn is None for window in status.windows)
    assert not any(rule.is_firing for rule in status.rules)
    assert (status.exhaustion.kind, status.coverage_share, status.series) == ("too_few", 0, ())


def test_an_unmeasured_service_is_named_without_an_operation(store: Store) -> None:
    """An objective over a whole service names the service alone."""
    status = evaluate(objective(operation=None), store, NOW_NS)

    assert plain(status.reason) == "No request to shop was measured in the last 30 d."


def test_good_requests_keep_the_budget(store: Store, write: Write) -> None:
    """Only failures spend it; other services and operations do not count."""
    write("shop", requests(10 * MINUTE_NS, 200))
    write("shop", requests(10 * MINUTE_NS, 50, bad=50), operation="GET /other")
    write("bank", requests(10 * MINUTE_NS, 50, bad=50))

    status = evaluate(objective(), store, NOW_NS)

    assert (status.state, status.reason) == ("ok", "")
    assert (status.total, status.bad, status.attained, status.budget_left) == (200, 0, 1, 1)
    assert status.allowed_bad == pytest.approx(1)
    assert status.exhaustion.sentence == "At this rate the budget lasts the window."
    assert status.coverage_share == pytest.approx(1 / (30 * 24 * 60), rel=0.01)


def test_an_objective_of_a_whole_service_counts_every_operation(store: Store, write: Write) -> None:
    """Without an operation all of the service's requests count."""
    write("shop", requests(10 * MINUTE_NS, 200))
    write("shop", requests(10 * MINUTE_NS, 50, bad=7), operation="GET /other")

    status = evaluate(objective(operation=None), store, NOW_NS)

    assert (status.total, status.bad) == (250, 7)


def test_a_burning_objective_pages(store: Store, write: Write) -> None:
    """When both windows of a page rule burn too fast the state is critical and says why."""
    write("shop", requests(2 * DAY_NS, 10_000))
    write("shop", requests(MINUTE_NS, 100, bad=20))

    status = evaluate(objective(), store, NOW_NS)

    assert status.state == "critical"
    assert plain(status.reason) == (
        "The budget burns 40× as fast as allowed over 1 h and 40× over 5 min; the limit is 14.4×."
    )
    assert [rule.is_firing for rule in status.rules] == [True, True, True, False]
    assert status.exhaustion.kind == "gone_in"


def test_a_rule_needs_both_windows(store: Store, write: Write) -> None:
    """Failures that stopped 10 minutes ago still burn the long window, but page nobody."""
    write("shop", requests(2 * DAY_NS, 10_000))
    write("shop", requests(10 * MINUTE_NS, 100, bad=20))
    write("shop", requests(MINUTE_NS, 10))

    quick = evaluate(objective(), store, NOW_NS).rules[0]

    assert (quick.long, quick.short) == ("1\u202fh", "5\u202fmin")
    assert (quick.long_burn or 0) > quick.factor
    assert (quick.short_burn, quick.is_firing, quick.note) == (0, False, "")


def test_a_ticket_warns(store: Store, write: Write) -> None:
    """A slow burn over days is a warning while budget is left."""
    write("shop", requests(20 * DAY_NS, 10_000))
    write("shop", requests(5 * HOUR_NS, 1000, bad=10))

    status = evaluate(objective(), store, NOW_NS)

    assert status.state == "warn"
    assert [rule.is_firing for rule in status.rules] == [False, False, False, True]
    assert plain(status.reason) == "The budget burns 2× as fast as allowed over 3 d and 2× over 6 h; the limit is 1×."


def test_a_low_budget_warns(store: Store, write: Write) -> None:
    """Less than a quarter left is a warning even when nothing burns any more."""
    write("shop", requests(10 * DAY_NS, 1000, bad=4))

    status = evaluate(objective(), store, NOW_NS)

    assert (status.state, status.reason) == ("warn", "20% of the budget is left.")


def test_an_overspent_budget_is_critical(store: Store, write: Write) -> None:
    """The budget is signed, and below 0 it is critical without any rule."""
    write("shop", requests(10 * DAY_NS, 1000, bad=10))

    status = evaluate(objective(), store, NOW_NS)

    assert (status.state, status.budget_left) == ("critical", -1)
    assert status.reason == "The budget is overspent: 10 of 1,000 requests failed."


def test_few_requests_hold_a_rule_back(store: Store, write: Write) -> None:
    """With less than 10 failures and less than 100 requests no rule fires, and its note says so."""
    write("shop", requests(2 * DAY_NS, 10_000))
    write("shop", requests(MINUTE_NS, 9, bad=9))

    status = evaluate(objective(), store, NOW_NS)

    assert (status.state, status.rules[0].is_firing) == ("ok", False)
    assert plain(status.rules[0].note) == "held back: 9 requests in 1 h are too few to judge"


@pytest.mark.parametrize(("count", "bad"), [(10, 10), (100, 8)])
def test_enough_failures_or_enough_requests_fire(store: Store, write: Write, count: int, bad: int) -> None:
    """10 failures, or 100 requests, are enough."""
    write("shop", requests(2 * DAY_NS, 10_000))
    write("shop", requests(MINUTE_NS, count, bad=bad))

    assert evaluate(objective(), store, NOW_NS).rules[0].is_firing


def test_a_rule_that_can_never_fire_says_so(store: Store) -> None:
    """At 90 % the burn rate cannot exceed 10, which is below the quick page's 14.4."""
    quick, slow, *_ = evaluate(objective(0.9), store, NOW_NS).rules

    assert quick.note == "cannot fire: with this target the burn rate never exceeds 10×"
    assert slow.note == ""


def test_a_short_objective_has_only_windows_within_it(store: Store) -> None:
    """An objective over 1 day has no rule over days, and its last window is the day."""
    status = evaluate(objective(window_ns=DAY_NS), store, NOW_NS)

    names = [plain(window.name) for window in status.windows]
    assert names == ["5 min", "30 min", "1 h", "2 h", "6 h", "1 d"]
    assert [plain(rule.long) for rule in status.rules] == ["1 h", "6 h"]


def test_latency_counts_slow_and_failed_requests_as_bad(store: Store, write: Write) -> None:
    """A request is good when it did not fail and took no longer than the threshold."""
    moment = NOW_NS - 10 * MINUTE_NS
    write("shop", [(moment, 100, False)] * 90 + [(moment, 700, False)] * 7 + [(moment, 5, True)] * 3)
    slow = replace(objective(0.8), indicator=Latency("shop", "GET /", 600_000_000))

    status = evaluate(slow, store, NOW_NS)

    assert (status.total, status.bad, status.state) == (100, 10, "ok")


def test_late_spans_correct_the_answer(store: Store, write: Write) -> None:
    """Spans of an hour that was already counted are counted on the next evaluation."""
    write("shop", requests(2 * DAY_NS, 100))
    before = evaluate(objective(), store, NOW_NS)
    write("shop", requests(2 * DAY_NS, 10, bad=10))

    after = evaluate(objective(), store, NOW_NS)

    assert ((before.total, before.bad), (after.total, after.bad)) == ((100, 0), (110, 10))


@pytest.mark.parametrize("seed", range(5))
def test_windows_and_budget_agree_with_raw_counting(store: Store, write: Write, seed: int) -> None:
    """Every window counts the requests since its first whole minute (hour, above 6 h) up to the present minute."""
    dice = random.Random(seed)
    moments = [int(NOW_NS - 10 ** dice.uniform(9, 15.6)) for _ in range(2000)]
    sample = [(moment, 10.0, dice.random() < 0.1) for moment in moments]
    write("shop", sample)
    target = dice.choice([0.9, 0.99, 0.999])

    status = evaluate(objective(target), store, NOW_NS)

    for window in status.windows:
        step_ns = MINUTE_NS if window.window_ns <= 6 * HOUR_NS else HOUR_NS
        since_ns = (NOW_NS - window.window_ns) // step_ns * step_ns
        inside = [is_failed for moment, _, is_failed in sample if moment >= since_ns]
        assert (window.total, window.bad) == (len(inside), sum(inside))
        assert window.burn == (pytest.approx(sum(inside) / len(inside) / (1 - target)) if inside else None)
    whole = status.windows[-1]
    assert (status.total, status.bad) == (whole.total, whole.bad)
    assert status.budget_left == pytest.approx(1 - whole.bad / ((1 - target) * whole.total))
    assert status.series[-1][1] == pytest.approx(status.budget_left)


def test_the_burn_down_falls_and_has_gaps(store: Store, write: Write) -> None:
    """It starts whole with the first requests, ends with what is left, and breaks where an hour was silent."""
    write("shop", requests(50 * HOUR_NS, 1000, bad=1))
    write("shop", requests(49 * HOUR_NS, 1000, bad=2))
    write("shop", requests(3 * MINUTE_NS, 1000, bad=3))
    write("shop", requests(1 * MINUTE_NS, 1000, bad=4))

    status = evaluate(objective(), store, NOW_NS)

    left = [value if value is None else round(value, 3) for _, value in status.series]
    assert left == [1.0, 0.95, 0.85, None, 0.7, 0.5]
    assert status.series[-1][0] - NOW_NS < MINUTE_NS
    assert status.budget_left == pytest.approx(0.5)


def test_the_worst_objective_comes_first(store: Store, write: Write) -> None:
    """Critical, then warning, then unknown, then ok; among equals the one with less budget."""
    write("critical", requests(10 * DAY_NS, 1000, bad=10))
    write("worse", requests(10 * DAY_NS, 1000, bad=20))
    write("warn", requests(10 * DAY_NS, 1000, bad=4))
    write("ok", requests(10 * DAY_NS, 1000))
    objectives = [
        Objective(name, name, "", name, 0.995, 30 * DAY_NS, Availability(name))
        for name in ("ok", "silent", "warn", "critical", "worse")
    ]

    statuses: list[SloStatus] = evaluate_all(objectives, store, NOW_NS)

    assert statuses == [evaluate(status.objective, store, NOW_NS) for status in statuses]
    assert [status.objective.name for status in statuses] == ["worse", "critical", "warn", "silent", "ok"]
