"""One file, one writer, any number of readers."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from builders import MS, SECOND, make_batch, make_span

from apm_store.api import Store, StoreClosedError, StoreError, StoreTimeoutError
from apm_store.model import Batch, LogRecord, Metric, Signal, Span
from apm_store.open import open_store
from apm_store.otlp_decode import decode_log_records, decode_metrics, decode_spans
from apm_store.query import LogQuery, MetricQuery, SpanAggregate, TimeRange, TraceQuery
from apm_store.sqlite.store import SqliteStore

ROOT = Path(__file__).parents[3]


def test_every_noun_comes_back_as_it_was_sent(full_batch: Batch, store: Store, all_time: TimeRange) -> None:
    """A batch that fills all of OTLP is stored, and its items are found with every field."""
    writers = {Signal.TRACES: store.traces, Signal.METRICS: store.metrics, Signal.LOGS: store.logs}

    writers[full_batch.signal].write(full_batch)

    store.stats()
    assert store.health().stored[full_batch.signal.value] == full_batch.item_count
    found: list[Span] | list[LogRecord] | list[Metric]
    sent: list[Span] | list[LogRecord] | list[Metric]
    if full_batch.signal is Signal.TRACES:
        sent = [span for _, span in decode_spans(full_batch.request)]
        found = store.traces.get(sent[0].trace_id)
    elif full_batch.signal is Signal.LOGS:
        sent = [record for _, record in decode_log_records(full_batch.request)]
        found = list(store.logs.find(LogQuery()))
    else:
        sent = [metric for metric, _ in decode_metrics(full_batch.request)]
        found = [metric for name in store.metrics.names() for metric in _metrics(store, name, all_time)]
    assert sorted(map(repr, found)) == sorted(map(repr, sent))


def _metrics(store: Store, name: str, time_range: TimeRange) -> tuple[Metric, ...]:
    return store.metrics.find(MetricQuery(name, time_range)).metrics


def test_writing_does_not_load_sqlalchemy() -> None:
    """A process that opens the store and writes carries no SQLAlchemy; the protocols alone carry no protobuf."""
    code = """
import sys, tempfile, pathlib
import apm_store.api, apm_store.query, apm_store.open
assert not [name for name in sys.modules if name.startswith("google.protobuf")], "protobuf"
from apm_store.open import open_store
from builders import make_batch, make_span
store = open_store(pathlib.Path(tempfile.mkdtemp()))
store.traces.write(make_batch([make_span("GET /")]))
assert store.stats().spans == 1
store.close()
assert "sqlalchemy" not in sys.modules, "sqlalchemy"
"""
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_store_for_reading_refuses_to_write(store: Store, tmp_path: Path) -> None:
    """A read-only store answers, and its write() raises."""
    store.traces.write(make_batch([make_span("GET /")]))
    store.stats()  # has everything indexed
    reading = open_store(tmp_path / "data", read_only=True)

    spans = reading.traces.get("0" * 31 + "1")

    with pytest.raises(StoreError, match="reading only"):
        reading.traces.write(make_batch([make_span("GET /")]))
    reading.close()
    assert len(spans) == 1


def test_a_batch_of_another_signal_is_refused(store: Store) -> None:
    """Spans written to the logs are an error that names both."""
    with pytest.raises(StoreError, match="traces was written to the store's logs"):
        store.logs.write(make_batch([make_span("GET /")]))


def test_stats_follow_every_commit(
    store: Store, make_logs: Callable[..., Batch], make_gauge: Callable[..., Batch]
) -> None:
    """Counts are of items, `version` changes with each commit, and duplicates count only as spans that came."""
    before = store.stats()
    batch = make_batch([make_span("GET /", span=number) for number in range(1, 21)])
    store.traces.write(batch)
    store.traces.write(batch)
    after_spans = store.stats()
    store.metrics.write(make_gauge([(1, 1.0, "a"), (2, 2.0, "a")]))

    after = store.stats()

    assert (before.spans, before.version, before.spans_per_second) == (0, 0, 0)
    assert (after.spans, after.data_points, after.log_records) == (20, 2, 0)
    assert after_spans.spans_per_second == 4.0
    assert before.version < after_spans.version < after.version
    assert after.bytes_on_disk > 4096


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    """After close(), which may be called twice, every question raises StoreClosedError."""
    store = open_store(tmp_path)
    store.traces.services()
    store.close()
    store.close()

    for ask in (store.stats, store.traces.services, lambda: store.traces.write(make_batch([make_span("x")]))):
        with pytest.raises(StoreClosedError):
            ask()


def test_readers_and_the_writer_never_block_each_other(store: Store, tmp_path: Path, all_time: TimeRange) -> None:
    """While batches are committed, readers of two stores see growing, consistent numbers and no lock error."""
    reading = open_store(tmp_path / "data", read_only=True)
    counts: list[int] = []
    is_done = threading.Event()

    def read(source: Store) -> None:
        while not is_done.is_set():
            rows = source.traces.aggregate(SpanAggregate(all_time))
            source.traces.find(TraceQuery(all_time, limit=5))
            counts.append(sum(row.count for row in rows))

    threads = [threading.Thread(target=read, args=(source,)) for source in (store, reading)]
    for thread in threads:
        thread.start()
    for number in range(1, 61):
        spans = [make_span("GET /", trace=number, span=span, start_ns=number * SECOND) for span in range(1, 21)]
        store.traces.write(make_batch(spans))
    is_done.set()
    for thread in threads:
        thread.join()
    reading.close()

    assert len(counts) > 2
    assert all(count % 20 == 0 for count in counts)
    assert store.stats().spans == 60 * 20


def test_a_question_that_takes_too_long_is_broken_off(tmp_path: Path, all_time: TimeRange) -> None:
    """Beyond its time limit an aggregate raises StoreTimeoutError, and a search gives an incomplete answer."""
    store = SqliteStore(tmp_path / "spanwise.db", read_only=False, read_limit_s=0.0)
    spans = [make_span(f"op {n % 100}", trace=n, span=n, start_ns=n * 60 * SECOND) for n in range(1, 6_001)]
    store.traces.write(make_batch(spans))

    with pytest.raises(StoreTimeoutError):
        store.traces.aggregate(SpanAggregate(all_time, with_durations=True))
    page = None
    try:
        page = store.traces.find(TraceQuery(all_time, attributes=(("k", "v"),)))
    finally:
        store.close()

    assert page is not None
    assert (page.is_complete, page.traces) == (False, ())


def test_a_late_answer_does_not_spoil_the_next_question(store: Store) -> None:
    """Time limits belong to one question: a hundred questions in a row may take longer than one may."""
    store.traces.write(make_batch([make_span("GET /", duration_ns=MS)]))
    started = time.monotonic()

    answers = [len(store.traces.get("0" * 31 + "1")) for _ in range(100)]

    assert answers == [1] * 100
    assert time.monotonic() - started < 60
