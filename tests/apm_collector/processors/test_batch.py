"""Batches that come together go on together, and nobody is answered early."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from builders import make_batch, make_span

from apm_collector.errors import PermanentError
from apm_collector.processors.batch import BatchConfig, BatchProcessor
from apm_store.model import Batch, Signal

from .conftest import Sink


def _batch(number: int) -> Batch:
    return make_batch([make_span("op", span=number + 1)], service=f"service {number}")


def test_concurrent_batches_are_merged_and_nothing_is_lost(sink: Sink) -> None:
    """Eight callers, one merged batch with the spans and resources of all."""
    processor = BatchProcessor(BatchConfig(10.0, 8, 0), sink)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(processor.consume, [_batch(number) for number in range(8)]))

    assert [batch.item_count for batch in sink.batches] == [8]
    assert len({span.span_id for span in sink.spans()}) == 8
    assert len(sink.batches[0].request.resource_spans) == 8


def test_no_caller_returns_before_the_merged_batch_was_consumed(sink: Sink) -> None:
    """What is acknowledged was taken by the exporter, also for those whose batch another thread handed on."""
    processor = BatchProcessor(BatchConfig(10.0, 2, 0), sink)
    sink.gate.clear()
    threads = [threading.Thread(target=processor.consume, args=(_batch(number),)) for number in range(2)]
    for thread in threads:
        thread.start()
    threads[0].join(0.05)

    waiting = [thread.is_alive() for thread in threads]
    sink.gate.set()
    for thread in threads:
        thread.join(10)

    assert waiting == [True, True]
    assert sink.items == 2


def test_every_caller_hears_of_the_failure(sink: Sink) -> None:
    """A merged batch that is refused is refused to all who are in it."""
    processor = BatchProcessor(BatchConfig(10.0, 3, 0), sink)
    sink.error = PermanentError("no")

    with ThreadPoolExecutor(3) as pool:
        outcomes = [pool.submit(processor.consume, _batch(number)) for number in range(3)]

    assert [type(outcome.exception()) for outcome in outcomes] == [PermanentError] * 3


def test_a_batch_alone_goes_on_when_its_time_is_up(sink: Sink) -> None:
    """Nobody waits for others longer than the timeout; the batch is the one that came."""
    batch = _batch(1)

    BatchProcessor(BatchConfig(0.01, 8192, 0), sink).consume(batch)

    assert sink.batches == [batch]


def test_a_merged_batch_keeps_to_its_largest_size(sink: Sink) -> None:
    """A batch that would make the group too large begins the next one; signals do not mix."""
    processor = BatchProcessor(BatchConfig(0.2, 4, 4), sink)
    batches = [make_batch([make_span("op", span=3 * n + m + 1) for m in range(3)]) for n in range(4)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(processor.consume, batches))

    assert sorted(batch.item_count for batch in sink.batches) == [3, 3, 3, 3]
    assert {batch.signal for batch in sink.batches} == {Signal.TRACES}


@pytest.mark.parametrize("round_number", range(5))
def test_many_threads_lose_nothing(sink: Sink, round_number: int) -> None:
    """Two hundred batches from ten threads all arrive once."""
    processor = BatchProcessor(BatchConfig(0.005, 7, 9), sink)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(processor.consume, [_batch(number) for number in range(200)]))

    assert sink.items == 200
    assert len({span.span_id for span in sink.spans()}) == 200
