"""Counts of what exporters did."""

from __future__ import annotations

import threading

from apm_collector.exporters.delivery_counts import DeliveryCounts
from apm_store.model import Signal


def test_counts_are_kept_apart() -> None:
    """By exporter, signal and outcome; what is 0 is left out."""
    counts = DeliveryCounts()

    counts.add("a", Signal.TRACES, "queued", 2)
    counts.add("a", Signal.TRACES, "queued", 3)
    counts.add("a", Signal.LOGS, "delivered", 1)
    counts.add("b", Signal.LOGS, "failed", 0)

    assert counts.snapshot() == {"a": {"traces": {"queued": 5}, "logs": {"delivered": 1}}}


def test_threads_count_together() -> None:
    """No item is lost between threads."""
    counts = DeliveryCounts()

    def count() -> None:
        for _ in range(2_000):
            counts.add("a", Signal.TRACES, "queued", 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counts.snapshot() == {"a": {"traces": {"queued": 8_000}}}
