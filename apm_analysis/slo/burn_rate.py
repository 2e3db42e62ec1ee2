"""Error budget and burn rate of objectives, and the rules that say when somebody must act."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Literal

from apm_analysis.slo.objective import Objective
from apm_analysis.slo.projection import Projection, project
from apm_analysis.slo.slices import Slice, count_slices, is_enough, sum_from
from apm_analysis.slo.wording import span_text, times_text
from apm_store.api import Store
from apm_store.query import HOUR_NS, MINUTE_NS, TimeRange

State = Literal["ok", "warn", "critical", "unknown"]
DAY_NS = 24 * HOUR_NS
LOW_BUDGET = 0.25
_WORST_FIRST: tuple[State, ...] = ("critical", "warn", "unknown", "ok")
_WINDOWS = (5 * MINUTE_NS, 30 * MINUTE_NS, HOUR_NS, 2 * HOUR_NS, 6 * HOUR_NS, DAY_NS, 3 * DAY_NS)


@dataclass(frozen=True, slots=True)
class Rule:
    """Act when `budget_share` of the budget burns within the long window, and the short one says it still does."""

    severity: Literal["page", "ticket"]
    speed: Literal["quick", "slow"]
    budget_share: float
    long_ns: int
    short_ns: int

    def factor(self, period_ns: int) -> float:
        """The burn rate that both windows must exceed: budget share × period / long window."""
        return self.budget_share * period_ns / self.long_ns


# Google, "The Site Reliability Workbook" (2018), chapter 5 "Alerting on SLOs", table 5-8 and section
# "Multiwindow, Multi-Burn-Rate Alerts", https://sre.google/workbook/alerting-on-slos/
RULES = (
    Rule("page", "quick", 0.02, HOUR_NS, 5 * MINUTE_NS),
    Rule("page", "slow", 0.05, 6 * HOUR_NS, 30 * MINUTE_NS),
    Rule("ticket", "quick", 0.10, DAY_NS, 2 * HOUR_NS),
    Rule("ticket", "slow", 0.10, 3 * DAY_NS, 6 * HOUR_NS),
)


@dataclass(frozen=True, slots=True)
class BurnWindow:
    """The requests of one window that ends now; `burn` is None where there were none."""

    name: str
    window_ns: int
    total: int
    bad: int
    burn: float | None


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """A rule against the present burn rates. `note` says why it cannot fire, or what holds it back; "" otherwise."""

    severity: Literal["page", "ticket"]
    speed: Literal["quick", "slow"]
    long: str
    short: str
    factor: float
    long_burn: float | None
    short_burn: float | None
    is_firing: bool
    note: str


@dataclass(frozen=True, slots=True)
class SloStatus:
    """Where an objective stands.

    `budget_left` is a signed share: 1 when nothing is spent, below 0 when overspent. `allowed_bad` is how many of the
    window's `total` requests may be bad. `series` is the burn-down from the whole budget at the first measured moment,
    (time, budget left) with None where nothing was measured for an hour. `coverage_share` is the measured part (0 to 1)
    of the window.
    """

    objective: Objective
    state: State
    reason: str
    total: int
    bad: int
    attained: float | None
    budget_left: float | None
    allowed_bad: float
    windows: tuple[BurnWindow, ...]
    rules: tuple[RuleStatus, ...]
    exhaustion: Projection
    coverage_share: float
    series: tuple[tuple[int, float | None], ...]


def evaluate_all(objectives: Iterable[Objective], store: Store, now_ns: int) -> list[SloStatus]:
    """All objectives as they stand at `now_ns`, worst first."""
    coverage_share = lru_cache(partial(_coverage_share, store, now_ns))  # objectives mostly share one window
    statuses = [_evaluate(objective, store, now_ns, coverage_share(objective.window_ns)) for objective in objectives]
    return sorted(statuses, key=_badness)


def _badness(status: SloStatus) -> tuple[int, float, str]:
    left = 1.0 if status.budget_left is None else status.budget_left
    return _WORST_FIRST.index(status.state), left, status.objective.name


def evaluate(objective: Objective, store: Store, now_ns: int) -> SloStatus:
    """An objective as it stands at `now_ns`: two questions for its requests, one for the coverage."""
    return _evaluate(objective, store, now_ns, _coverage_share(store, now_ns, objective.window_ns))


def _coverage_share(store: Store, now_ns: int, window_ns: int) -> float:
    coverage = store.traces.coverage(TimeRange(now_ns - window_ns, now_ns))
    return coverage.measured_minutes / max(1, coverage.expected_minutes)


def _evaluate(objective: Objective, store: Store, now_ns: int, coverage_share: float) -> SloStatus:
    slices = count_slices(objective, store, now_ns)
    total, bad = sum_from(slices, 0)
    allowed_bad = (1 - objective.target) * total
    windows = _windows(objective, slices, now_ns)
    rules = tuple(_rule_status(rule, objective, windows) for rule in RULES if rule.long_ns < objective.window_ns)
    state, reason = _state(objective, total, bad, rules)
    return SloStatus(
        objective=objective,
        state=state,
        reason=reason,
        total=total,
        bad=bad,
        attained=1 - bad / total if total else None,
        budget_left=objective.budget_left(total, bad),
        allowed_bad=allowed_bad,
        windows=windows,
        rules=rules,
        exhaustion=project(objective, slices, now_ns),
        coverage_share=coverage_share,
        series=_burn_down(slices, allowed_bad),
    )


def _windows(objective: Objective, slices: Sequence[Slice], now_ns: int) -> tuple[BurnWindow, ...]:
    lengths = [window_ns for window_ns in _WINDOWS if window_ns < objective.window_ns]
    windows = []
    for window_ns in [*lengths, objective.window_ns]:
        total, bad = sum_from(slices, now_ns - window_ns)
        windows.append(BurnWindow(span_text(window_ns), window_ns, total, bad, objective.burn(total, bad)))
    return tuple(windows)


def _rule_status(rule: Rule, objective: Objective, windows: Sequence[BurnWindow]) -> RuleStatus:
    by_length = {window.window_ns: window for window in windows}
    long, short = by_length[rule.long_ns], by_length[rule.short_ns]
    factor = rule.factor(objective.window_ns)
    is_over = (long.burn or 0) > factor and (short.burn or 0) > factor
    has_enough = is_enough(long.total, long.bad)
    note = ""
    if factor >= objective.max_burn:
        note = f"cannot fire: with this target the burn rate never exceeds {times_text(objective.max_burn)}×"
    elif is_over and not has_enough:
        requests, are = ("request", "is") if long.total == 1 else ("requests", "are")
        note = f"held back: {long.total:,} {requests} in {long.name} {are} too few to judge"
    return RuleStatus(
        severity=rule.severity,
        speed=rule.speed,
        long=long.name,
        short=short.name,
        factor=factor,
        long_burn=long.burn,
        short_burn=short.burn,
        is_firing=is_over and has_enough,
        note=note,
    )


def _state(objective: Objective, total: int, bad: int, rules: Sequence[RuleStatus]) -> tuple[State, str]:
    left = objective.budget_left(total, bad)
    if left is None:
        what = f"“{objective.indicator.operation}” of " if objective.indicator.operation else ""
        return "unknown", (
            f"No request to {what}{objective.indicator.service} was measured in the last "
            f"{span_text(objective.window_ns)}."
        )
    firing = {rule.severity: rule for rule in reversed(rules) if rule.is_firing}
    if "page" in firing:
        return "critical", _firing_text(firing["page"])
    if left < 0:
        return "critical", f"The budget is overspent: {bad:,} of {total:,} requests {objective.indicator.bad_words}."
    if "ticket" in firing:
        return "warn", _firing_text(firing["ticket"])
    if left < LOW_BUDGET:
        return "warn", f"{left:.0%} of the budget is left."
    return "ok", ""


def _firing_text(rule: RuleStatus) -> str:
    return (
        f"The budget burns {times_text(rule.long_burn or 0)}× as fast as allowed over {rule.long} "
        f"and {times_text(rule.short_burn or 0)}× over {rule.short}; the limit is {times_text(rule.factor)}×."
    )


def _burn_down(slices: Sequence[Slice], allowed_bad: float) -> tuple[tuple[int, float | None], ...]:
    """The whole budget, then what is left after each measured slice; a gap where nothing was measured for an hour."""
    measured = [part for part in slices if part.total]
    points: list[tuple[int, float | None]] = [(part.start_ns, 1.0) for part in measured[:1]]
    spent = 0
    for part, following in [*pairwise(measured), *((part, part) for part in measured[-1:])]:
        spent += part.bad
        points.append((part.end_ns, 1 - spent / allowed_bad))
        if following.start_ns - part.end_ns >= HOUR_NS:
            points.append((part.end_ns, None))
    return tuple(points)
