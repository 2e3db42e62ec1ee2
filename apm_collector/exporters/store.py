"""Writes batches to the store."""

from __future__ import annotations

from apm_collector.counts import Counts
from apm_collector.errors import DiskFullError, StoreFailedError, TransientError
from apm_store.api import Store, StoreBusyError, StoreError, StoreFullError
from apm_store.model import Batch, Signal

_FULL_RETRY_S = 10  # space is looked for that often
_FAILED_RETRY_S = 5


class StoreExporter:
    """The Consumer at the end of a pipeline: it returns only after the commit, so what is acknowledged is durable."""

    def __init__(self, store: Store, counts: Counts | None = None) -> None:
        self._counts = counts or Counts()
        self._writers = {Signal.TRACES: store.traces, Signal.METRICS: store.metrics, Signal.LOGS: store.logs}

    def consume(self, batch: Batch) -> None:
        """Store a batch and count it as accepted.

        Raises TransientError when the store is busy, full or broken: the sender then keeps the data.
        """
        try:
            self._writers[batch.signal].write(batch)
        except StoreFullError as error:
            raise DiskFullError(str(error), retry_after_s=_FULL_RETRY_S) from error
        except StoreBusyError as error:
            raise TransientError(str(error)) from error
        except StoreError as error:
            raise StoreFailedError(f"The store cannot write: {error}", retry_after_s=_FAILED_RETRY_S) from error
        self._counts.add_accepted(batch.signal, batch.item_count)
