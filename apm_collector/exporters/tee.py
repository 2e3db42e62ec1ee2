"""One batch to several exporters, of which the first decides the answer."""

from __future__ import annotations

from collections.abc import Mapping

from apm_collector.counts import Counts
from apm_collector.errors import CollectorError
from apm_collector.exporters.delivery_counts import DeliveryCounts
from apm_collector.pipeline import Consumer
from apm_store.model import Batch


class Tee:
    """A Consumer that hands each batch to the first exporter and, once that has it, to the others."""

    def __init__(self, first: Consumer, others: Mapping[str, Consumer], counts: DeliveryCounts) -> None:
        self._first = first
        self._others = others
        self._counts = counts

    def consume(self, batch: Batch) -> None:
        """Consume a batch; raises what the first exporter raises, and then the others do not see the batch.

        That another one could not take it is counted, and is not the sender's matter: to send again would not help.
        """
        self._first.consume(batch)
        for component_id, exporter in self._others.items():
            self._offer(component_id, exporter, batch)

    def _offer(self, component_id: str, exporter: Consumer, batch: Batch) -> None:
        try:
            exporter.consume(batch)
        except CollectorError:
            self._counts.add(component_id, batch.signal, "failed", batch.item_count)


class Accepting:
    """Counts what an exporter other than the store took as accepted: in its pipeline there is no better answer."""

    def __init__(self, exporter: Consumer, counts: Counts) -> None:
        self._exporter = exporter
        self._counts = counts

    def consume(self, batch: Batch) -> None:
        """Consume a batch; raises what the exporter raises."""
        self._exporter.consume(batch)
        self._counts.add_accepted(batch.signal, batch.item_count)
