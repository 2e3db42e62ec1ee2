"""Writes batches to the store."""

from __future__ import annotations

from apm_collector.counts import Counts
from apm_collector.errors import TransientError
from apm_store.api import Store, StoreBusyError, StoreError
from apm_store.model import Batch, Signal


class StoreExporter:
    """The Consumer at the end of a pipeline: it returns only after the commit, so what is acknowledged is durable."""

    def __init__(self, store: Store, counts: Counts | None = None) -> None:
        self._counts = counts or Counts()
        self._writers = {Signal.TRACES: store.traces, Signal.METRICS: store.metrics, Signal.LOGS: store.logs}

    def consume(self, batch: Batch) -> None:
        """Store a batch and count what became of it.

        Raises TransientError when the store is busy or broken: the sender then keeps the data.
        """
        try:
            outcome = self._writers[batch.signal].write(batch)
        except StoreBusyError as error:
            raise TransientError(str(error)) from error
        except StoreError as error:
            raise TransientError(f"The store cannot write: {error}", retry_after_s=5) from error
        self._counts.add_outcome(batch.signal, stored=outcome.stored, duplicates=outcome.duplicates)
