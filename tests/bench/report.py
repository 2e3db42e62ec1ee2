"""Prints what a benchmark measured, one line per figure, each held against its target."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values do not exceed (nearest rank); nan when there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Median, and least to greatest when there are several."""
    middle = format(statistics.median(values), form)
    return middle if len(values) == 1 else f"{middle} ({format(min(values), form)} to {format(max(values), form)})"


def show(name: str, value: str, verdict: bool | None = None, target: str = "") -> None:
    """One line of the table; without a verdict the figure has no target."""
    word = {None: "", True: "PASS", False: "short"}[verdict]
    print(f"{name:<52} {value:<38} {target:<20} {word}".rstrip(), flush=True)


def show_least(name: str, values: Sequence[float], least: float, form: str = ",.0f", unit: str = "") -> bool:
    """A figure whose median must reach `least`."""
    return _held(name, values, form, unit, f"≥ {least:,g}{unit}", lambda middle: middle >= least)


def show_most(name: str, values: Sequence[float], most: float, form: str = ",.0f", unit: str = "") -> bool:
    """A figure whose median must not exceed `most`."""
    return _held(name, values, form, unit, f"≤ {most:,g}{unit}", lambda middle: middle <= most)


def _held(
    name: str, values: Sequence[float], form: str, unit: str, target: str, is_met: Callable[[float], bool]
) -> bool:
    verdict = bool(is_met(statistics.median(values)))
    show(name, spread(values, form) + unit, verdict, target)
    return verdict
