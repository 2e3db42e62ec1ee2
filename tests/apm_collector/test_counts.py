"""The counts of a collector."""

from __future__ import annotations

from apm_collector.counts import Counts
from apm_store.model import Signal


def test_what_is_received_is_stored_known_or_rejected() -> None:
    """Received is the sum of the other counts of items; refused requests stand beside it, and signals are apart."""
    counts = Counts()

    counts.add_outcome(Signal.LOGS, stored=5, duplicates=2)
    counts.add_rejected(Signal.LOGS, 3)
    counts.add_refused(Signal.LOGS)

    nothing = {"received": 0, "stored": 0, "duplicates": 0, "rejected": 0, "refused": 0}
    logs = {"received": 10, "stored": 5, "duplicates": 2, "rejected": 3, "refused": 1}
    assert counts.snapshot() == {"traces": nothing, "metrics": nothing, "logs": logs}
