"""What became of the batches that the exporters beside the store were given, per exporter and signal."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Literal

from apm_store.model import Signal

Outcome = Literal["resumed", "queued", "delivered", "rejected", "refused", "expired", "queue_full", "corrupt", "failed"]
"""Where items went; `resumed` were queued by an earlier process.

resumed + queued = delivered + rejected + refused + expired + queue_full + corrupt + waiting. `rejected` were refused
singly by the backend, `refused` with their whole batch; `expired` could not be delivered in time; `failed` were never
queued, because the queue could not take them.
"""


class DeliveryCounts:
    """Counts of items since the start; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: Counter[tuple[str, Signal, Outcome]] = Counter()

    def add(self, exporter: str, signal: Signal, outcome: Outcome, items: int) -> None:
        """Count items of one signal that met an outcome in the exporter with a component id."""
        if items:
            with self._lock:
                self._items[exporter, signal, outcome] += items

    def snapshot(self) -> dict[str, dict[str, dict[str, int]]]:
        """All counts that are not 0, by component id, signal name and outcome."""
        counts: dict[str, dict[str, dict[str, int]]] = {}
        with self._lock:
            for (exporter, signal, outcome), items in sorted(self._items.items(), key=str):
                counts.setdefault(exporter, {}).setdefault(signal.value, {})[outcome] = items
        return counts
