"""How much the collector took and what became of it, per signal."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass

from apm_store.model import Signal


@dataclass(slots=True)
class SignalCounts:
    """Counts of one signal since the start: of items (spans, data points, log records), but `refused` of requests.

    For all requests that were answered with success, received = stored + duplicates + rejected.
    """

    received: int = 0
    stored: int = 0
    duplicates: int = 0
    rejected: int = 0
    refused: int = 0


class Counts:
    """The counts of all signals; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._signals = {signal: SignalCounts() for signal in Signal}

    def add_outcome(self, signal: Signal, *, stored: int, duplicates: int) -> None:
        """Count what the store made of a batch."""
        with self._lock:
            counts = self._signals[signal]
            counts.stored += stored
            counts.duplicates += duplicates
            counts.received += stored + duplicates

    def add_rejected(self, signal: Signal, items: int) -> None:
        """Count items that were rejected one by one."""
        with self._lock:
            counts = self._signals[signal]
            counts.rejected += items
            counts.received += items

    def add_refused(self, signal: Signal) -> None:
        """Count one request that was refused whole."""
        with self._lock:
            self._signals[signal].refused += 1

    def snapshot(self) -> dict[str, dict[str, int]]:
        """All counts by signal name, as plain data."""
        with self._lock:
            return {signal.value: asdict(counts) for signal, counts in self._signals.items()}
