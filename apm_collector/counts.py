"""What became of everything the collector received, in items per signal: counts that add up exactly."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from apm_collector.errors import CollectorError
from apm_store.model import Signal


@dataclass(slots=True)
class SignalCounts:
    """Counts of one signal since the start, in items (spans, data points, log records), `refused_requests` excepted.

    received = accepted + rejected + dropped + refused + pending. Items are received once their request is decoded, or
    at the start when an earlier process held them; a request that cannot be decoded counts in `refused_requests`
    alone. `accepted` is acknowledged to the store, `rejected` is invalid (by cause), `dropped` was let go by a
    processor (by component and reason), `refused` was given back to the sender with its request (by reason).
    `pending` has no outcome yet: it is worked on or held.
    """

    received: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    refused_requests: Counter[str] = field(default_factory=Counter)

    def as_data(self) -> dict[str, Any]:
        """The counts as plain data."""
        settled = self.accepted + self.rejected.total() + self.dropped.total() + self.refused.total()
        return {
            "received": self.received,
            "accepted": self.accepted,
            "rejected": dict(self.rejected),
            "dropped": dict(self.dropped),
            "refused": dict(self.refused),
            "pending": self.received - settled,
            "refused_requests": dict(self.refused_requests),
        }


class Counts:
    """The counts of all signals; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._signals = {signal: SignalCounts() for signal in Signal}
        self._request = threading.local()  # how many items of the request that this thread works on have an outcome

    @contextmanager
    def request(self, signal: Signal, items: int, rejected: Mapping[str, int]) -> Iterator[None]:
        """Count a decoded request of so many items while the block has its batch consumed.

        At the end its invalid items, `rejected` by cause, count as rejected. When the block raises, all items that
        have no outcome yet were given back to the sender: they count as refused.
        """
        counts = self._signals[signal]
        with self._lock:
            counts.received += items
        self._request.settled = 0
        reason = "failure"
        try:
            yield
            reason = ""
        except CollectorError as error:
            reason = error.reason
            raise
        finally:
            left = items - self._request.settled
            del self._request.settled
            with self._lock:
                if reason:
                    counts.refused[reason] += left
                else:
                    counts.rejected.update(rejected)

    def add_accepted(self, signal: Signal, items: int) -> None:
        """Count items that the store has taken and will not lose."""
        with self._lock:
            self._signals[signal].accepted += items
        self._settle(items)

    def on_dropped(self, signal: Signal, reason: str, items: int) -> None:
        """Count items that a processor let go; `reason` names its component and the cause, in few and fixed words."""
        with self._lock:
            self._signals[signal].dropped[reason] += items
        self._settle(items)

    def on_resumed(self, signal: Signal, items: int) -> None:
        """Count items that an earlier process acknowledged and held, which a processor takes up again at the start."""
        with self._lock:
            self._signals[signal].received += items

    def add_refused(self, signal: Signal, reason: str = "other") -> None:
        """Count one request that was refused whole."""
        with self._lock:
            self._signals[signal].refused_requests[reason] += 1

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """All counts by signal name at one moment, as plain data; see SignalCounts."""
        with self._lock:
            return {signal.value: counts.as_data() for signal, counts in self._signals.items()}

    def _settle(self, items: int) -> None:
        if hasattr(self._request, "settled"):  # a thread of a processor's own works on no request
            self._request.settled += items
