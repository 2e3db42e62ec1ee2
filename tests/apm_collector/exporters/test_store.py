"""The store exporter."""

from __future__ import annotations

import pytest
from builders import make_batch, make_span

from apm_collector.counts import Counts
from apm_collector.errors import TransientError
from apm_collector.exporters.store import StoreExporter
from apm_store.api import Store, StoreBusyError, StoreError, StoreFullError
from apm_store.model import Batch


class _FailingStore:
    """A store whose every write fails."""

    def __init__(self, error: StoreError) -> None:
        self.error = error
        self.traces = self.metrics = self.logs = self

    def write(self, batch: Batch) -> None:
        raise self.error


def test_a_batch_is_stored_and_counted(store: Store) -> None:
    """After `consume` the store holds the batch; one that comes again is accepted and stored once."""
    counts = Counts()
    exporter = StoreExporter(store, counts)
    batch = make_batch([make_span("a"), make_span("b", span=2)])

    exporter.consume(batch)
    exporter.consume(batch)

    assert store.stats().spans == 2
    assert counts.snapshot()["traces"]["accepted"] == 4


@pytest.mark.parametrize(
    ("error", "retry_after_s", "reason"),
    [
        (StoreBusyError(), 1, "overload"),
        (StoreFullError(), 10, "disk_full"),
        (StoreError("broken"), 5, "store_failed"),
    ],
)
def test_a_store_that_cannot_write_is_a_transient_fault(error: StoreError, retry_after_s: int, reason: str) -> None:
    """The sender keeps the data and sends it again; nothing is counted as accepted."""
    counts = Counts()
    exporter = StoreExporter(_FailingStore(error), counts)  # type: ignore[arg-type]

    with pytest.raises(TransientError, match=str(error)) as raised:
        exporter.consume(make_batch([make_span("a")]))

    assert (raised.value.retry_after_s, raised.value.reason) == (retry_after_s, reason)
    assert counts.snapshot()["traces"]["accepted"] == 0
