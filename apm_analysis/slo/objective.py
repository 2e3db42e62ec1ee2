"""An objective: what share of a service's requests must be good, over which window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from apm_store.query import AggregateRow, GroupBy, SpanAggregate, TimeRange


class Indicator(Protocol):
    """An SLI: which requests count, and which of them are good.

    `with_durations` says whether `good` reads the durations; `bad_words` ends "52 of 573 requests …".
    """

    with_durations: bool

    @property
    def service(self) -> str:
        """The service whose requests count."""
        ...

    @property
    def operation(self) -> str | None:
        """The entry operation whose requests count; None for all of the service."""
        ...

    @property
    def bad_words(self) -> str:
        """What the bad requests did."""
        ...

    def good(self, row: AggregateRow) -> int:
        """How many requests of the row are good."""
        ...

    def total(self, row: AggregateRow) -> int:
        """How many requests of the row count."""
        ...


@dataclass(frozen=True, slots=True)
class Availability:
    """Good is every request that did not fail; a 4xx is the caller's mistake and good."""

    service: str
    operation: str | None = None

    with_durations = False
    bad_words = "failed"

    def good(self, row: AggregateRow) -> int:
        """Requests that did not fail."""
        return row.count - row.failed_count

    def total(self, row: AggregateRow) -> int:
        """All requests."""
        return row.count


@dataclass(frozen=True, slots=True)
class Latency:
    """Good is every request that did not fail and took no longer than the threshold (within 1 %, see `Sketch`)."""

    service: str
    operation: str | None
    threshold_ns: int

    with_durations = True

    @property
    def bad_words(self) -> str:
        """What the bad requests did."""
        return f"failed or took longer than {self.threshold_ns / 1e6:g}\u202fms"

    def good(self, row: AggregateRow) -> int:
        """Requests that did not fail and were fast enough."""
        return row.ok_durations.count_at_most(self.threshold_ns)

    def total(self, row: AggregateRow) -> int:
        """All requests."""
        return row.count


@dataclass(frozen=True, slots=True)
class Objective:
    """One SLO. `target` is the share of good requests, above 0 and below 1, over the rolling window `window_ns`."""

    name: str
    display_name: str
    description: str
    service: str
    target: float
    window_ns: int
    indicator: Indicator

    @property
    def max_burn(self) -> float:
        """The burn rate when every request is bad: 1 / (1 - target)."""
        return 1 / (1 - self.target)

    def burn(self, total: int, bad: int) -> float | None:
        """The burn rate: the share of bad requests over the share the target allows; None without requests."""
        return bad / total * self.max_burn if total else None

    def budget_left(self, total: int, bad: int) -> float | None:
        """The signed share of the budget that is left: 1 - bad / allowed bad; None without requests.

        Rounded, because a budget that is spent to the last request is 0 and not a hair below.
        """
        return round(1 - bad * self.max_burn / total, 9) + 0.0 if total else None

    def question(self, time_range: TimeRange, step_ns: int) -> SpanAggregate:
        """What to ask of the store to count the indicator's requests by step."""
        return SpanAggregate(
            time_range,
            (GroupBy.SERVICE,),
            step_ns=step_ns,
            service=self.indicator.service,
            operation=self.indicator.operation,
            with_durations=self.indicator.with_durations,
        )
