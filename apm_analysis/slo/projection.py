"""When the error budget is gone, or is back, if requests go on as in the last hour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from apm_analysis.slo.objective import Objective
from apm_analysis.slo.slices import Slice, is_enough, sum_from
from apm_analysis.slo.wording import span_text, times_text
from apm_store.query import HOUR_NS, MINUTE_NS


@dataclass(frozen=True, slots=True)
class Projection:
    """What becomes of the budget at the rate of the last hour.

    `duration_ns` is the time until it is gone ("gone_in") or back ("spent"); None where that is not foreseen.
    """

    kind: Literal["gone_in", "lasts", "spent", "too_few"]
    duration_ns: int | None
    sentence: str


def project(objective: Objective, slices: Sequence[Slice], now_ns: int) -> Projection:
    """Continue the last hour's requests and failures until the budget's sign changes, at most one window ahead."""
    total, bad = sum_from(slices, now_ns - HOUR_NS)
    left = objective.budget_left(*sum_from(slices, 0))
    is_spent = left is not None and left <= 0
    used_up = "The budget is used up. " if is_spent else ""
    if not is_enough(total, bad):
        few = f"{used_up}Too few requests to project: {total} in 1\u202fh."
        return Projection("spent" if is_spent else "too_few", None, few)
    after_ns = _sign_change_ns(objective, slices, now_ns, is_spent=is_spent)
    hour = _hour_text(objective, total, bad)
    if after_ns is None and is_spent:
        return Projection("spent", None, f"{used_up}At this rate it does not recover. {hour}")
    if after_ns is None:
        return Projection("lasts", None, "At this rate the budget lasts the window.")
    if is_spent:
        return Projection("spent", after_ns, f"{used_up}At this rate it recovers in {span_text(after_ns)}.")
    return Projection("gone_in", after_ns, f"At this rate the budget is gone in {span_text(after_ns)}. {hour}")


def _hour_text(objective: Objective, total: int, bad: int) -> str:
    burn = bad / total * objective.max_burn
    return (
        f"In the last hour {bad:,} of {total:,} requests {objective.indicator.bad_words}, "
        f"{times_text(burn)} times {'more than' if burn >= 1 else 'what'} the objective allows."
    )


def _sign_change_ns(objective: Objective, slices: Sequence[Slice], now_ns: int, *, is_spent: bool) -> int | None:
    """How long until the window's balance (allowed minus bad requests) changes its sign; None: not within a window.

    Between the moments when slices leave the window the balance changes by the last hour's rate.
    """
    allowed = 1 - objective.target
    balance = sum(allowed * part.total - part.bad for part in slices)
    slope = _hourly_slope(objective, slices, now_ns)
    sign = -1 if is_spent else 1
    passed_ns = 0
    for part in [*slices, Slice(now_ns, now_ns, 0, 0)]:
        leaves_ns = max(passed_ns, part.end_ns + objective.window_ns - now_ns)
        reached = balance + slope * (leaves_ns - passed_ns)
        if sign * reached <= 0 and sign * slope < 0:
            return passed_ns + round(-balance / slope)
        balance = reached - (allowed * part.total - part.bad)
        passed_ns = leaves_ns
        if sign * balance < 0:
            return passed_ns
    return None


def _hourly_slope(objective: Objective, slices: Sequence[Slice], now_ns: int) -> float:
    """By how much the balance changes per nanosecond, measured from the first request of the last hour."""
    recent = [part for part in slices if part.end_ns > now_ns - HOUR_NS]
    change = sum((1 - objective.target) * part.total - part.bad for part in recent)
    return change / max(MINUTE_NS, now_ns - min(part.start_ns for part in recent))
