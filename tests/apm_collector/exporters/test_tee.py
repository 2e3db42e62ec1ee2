"""One batch to several exporters."""

from __future__ import annotations

import pytest
from otlp_backends import numbered

from apm_collector.counts import Counts
from apm_collector.errors import CollectorError, PermanentError, TransientError
from apm_collector.exporters.delivery_counts import DeliveryCounts
from apm_collector.exporters.tee import Accepting, Tee
from apm_store.model import Batch, Signal


class _Exporter:
    """Remembers batches, or fails."""

    def __init__(self, error: CollectorError | None = None) -> None:
        self.error = error
        self.seen: list[Batch] = []

    def consume(self, batch: Batch) -> None:
        if self.error:
            raise self.error
        self.seen.append(batch)


def test_all_exporters_see_a_batch() -> None:
    """The same batch goes to each."""
    first, second, third = _Exporter(), _Exporter(), _Exporter()
    batch = numbered(0)

    Tee(first, {"otlp": second, "debug": third}, DeliveryCounts()).consume(batch)

    assert first.seen == second.seen == third.seen == [batch]


def test_the_first_exporter_is_the_answer() -> None:
    """When it fails the sender is told, and will send again: the others have not seen the batch."""
    other = _Exporter()
    tee = Tee(_Exporter(TransientError("busy")), {"otlp": other}, DeliveryCounts())

    with pytest.raises(TransientError, match="busy"):
        tee.consume(numbered(0))

    assert other.seen == []


@pytest.mark.parametrize("error", [TransientError("full"), PermanentError("too large")])
def test_another_exporter_never_fails_the_request(error: CollectorError) -> None:
    """Its failure is counted, and those behind it see the batch."""
    first, last, counts = _Exporter(), _Exporter(), DeliveryCounts()

    Tee(first, {"otlp": _Exporter(error), "debug": last}, counts).consume(numbered(0))

    assert len(first.seen) == len(last.seen) == 1
    assert counts.snapshot() == {"otlp": {"traces": {"failed": 1}}}


def test_what_is_taken_without_a_store_counts_as_accepted() -> None:
    """The sums of the collector stay exact in a pipeline that has no store."""
    counts = Counts()
    accepting = Accepting(_Exporter(), counts)

    with counts.request(Signal.TRACES, 1, {}):
        accepting.consume(numbered(0))

    traces = counts.snapshot()["traces"]
    assert (traces["received"], traces["accepted"], traces["pending"]) == (1, 1, 0)


def test_what_is_not_taken_without_a_store_is_not_accepted() -> None:
    """The sender is told, and the items count as refused."""
    counts = Counts()
    accepting = Accepting(_Exporter(TransientError("full")), counts)

    with pytest.raises(TransientError), counts.request(Signal.TRACES, 1, {}):
        accepting.consume(numbered(0))

    traces = counts.snapshot()["traces"]
    assert (traces["accepted"], sum(traces["refused"].values())) == (0, 1)
