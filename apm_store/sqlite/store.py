"""The SQLite store: one file, one writer thread, any number of readers.

Reading is loaded on the first question, so that a process which only writes never pays for SQLAlchemy.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from apm_store.api import SchemaError, StoreClosedError, StoreError, WriteOutcome
from apm_store.model import Batch, LogRecord, Signal, Span
from apm_store.query import (
    AggregateRow,
    Coverage,
    LogQuery,
    MetricPage,
    MetricQuery,
    ServiceInfo,
    SpanAggregate,
    StatementAggregate,
    StatementCallers,
    StatementRow,
    StoreStats,
    TimeRange,
    TracePage,
    TraceQuery,
)
from apm_store.sqlite.connections import connect_reader

if TYPE_CHECKING:
    from apm_store.sqlite.reader import Reader, Snapshot
    from apm_store.sqlite.writer import Writer

READ_LIMIT_S = 2.0
"""How long a question may take before it is broken off."""

_WHOLE_TRACE_PATIENCE = 8.0  # a trace has no second page to ask for: 100,000 spans take about 2 s of CPU
_RATE_SPAN_NS = 10_000_000_000  # spans per second are counted over the last 10 s


class SqliteStore:
    """A store in one SQLite file; satisfies `api.Store`.

    `read_limit_s` bounds every question. Raises SchemaError for a database of somebody else or of a newer version,
    StoreError when `read_only` finds no database.
    """

    def __init__(self, path: Path, read_only: bool, *, read_limit_s: float = READ_LIMIT_S) -> None:
        self._path = path
        self._read_limit_s = read_limit_s
        self._is_closed = False
        self._lock = threading.Lock()
        self._reader: Reader | None = None
        self._writer = None if read_only else _open_writer(path)
        self._status = _open_status(path)
        self.traces = Traces(self)
        self.metrics = Metrics(self)
        self.logs = Logs(self)

    def write(self, signal: Signal, batch: Batch) -> WriteOutcome:
        """Store a batch of a signal, see `api.SignalWriter`."""
        if batch.signal is not signal:
            raise StoreError(f"A batch of {batch.signal.value} was written to the store's {signal.value}.")
        if self._writer is None:
            raise StoreError("The store was opened for reading only.")
        return self._writer.write(batch)

    def snapshot(self, patience: float = 1.0) -> AbstractContextManager[Snapshot]:
        """A view of the database to ask one question through; loads what reading needs when first used.

        `patience` stretches the time limit of the question.
        """
        from apm_store.sqlite.reader import Reader  # loads SQLAlchemy, 14 MB that a writer has no use for

        with self._lock:
            if self._is_closed:
                raise StoreClosedError
            self._reader = self._reader or Reader(self._path, self._read_limit_s)
            return self._reader.snapshot(patience)

    def stats(self) -> StoreStats:
        """What the store holds; a handful of index look-ups."""
        since_ns = time.time_ns() - _RATE_SPAN_NS
        with self._lock:
            if self._is_closed:
                raise StoreClosedError
            try:
                counts = dict(self._status.execute("SELECT name, value FROM counter"))
                version = self._status.execute("SELECT coalesce(max(id), 0) FROM body").fetchone()[0]
                recent = self._status.execute(
                    "SELECT coalesce(sum(item_count), 0) FROM body WHERE signal = ? AND received_ns >= ?",
                    (Signal.TRACES.value, since_ns),
                ).fetchone()[0]
            except sqlite3.Error as error:
                raise StoreError(f"The store's counters could not be read: {error}.") from error
        return StoreStats(
            spans=counts[Signal.TRACES.value],
            log_records=counts[Signal.LOGS.value],
            data_points=counts[Signal.METRICS.value],
            bytes_on_disk=self._bytes_on_disk(),
            spans_per_second=recent * 1e9 / _RATE_SPAN_NS,
            version=version,
        )

    def close(self) -> None:
        """Write what was taken, then let go of the database; further calls do nothing."""
        with self._lock:
            is_first, self._is_closed = not self._is_closed, True
        if self._writer is not None:
            self._writer.close()
        if is_first:
            self._status.close()
        if is_first and self._reader is not None:
            self._reader.close()

    def _bytes_on_disk(self) -> int:
        try:
            size = self._path.stat().st_size
        except FileNotFoundError as error:
            raise StoreError(f"The store's file {self._path} is gone.") from error
        with suppress(FileNotFoundError):  # the WAL comes and goes with the connections
            size += self._path.with_name(self._path.name + "-wal").stat().st_size
        return size


class Traces:
    """The store's spans; satisfies `api.TraceStore`, which tells what each question means."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def write(self, batch: Batch) -> WriteOutcome:
        """Store a batch of spans."""
        return self._store.write(Signal.TRACES, batch)

    def find(self, query: TraceQuery, *, max_points: int = 0) -> TracePage:
        """The traces that meet the query."""
        from apm_store.sqlite import traces

        with self._store.snapshot() as snapshot:
            return traces.find(snapshot, query, max_points)

    def get(self, trace_id: str) -> list[Span]:
        """Every span of a trace in order of start."""
        from apm_store.sqlite import traces

        with self._store.snapshot(_WHOLE_TRACE_PATIENCE) as snapshot:
            return traces.get(snapshot, trace_id)

    def get_span(self, trace_id: str, span_id: str) -> Span | None:
        """One span."""
        from apm_store.sqlite import traces

        with self._store.snapshot() as snapshot:
            return traces.get_span(snapshot, trace_id, span_id)

    def aggregate(self, question: SpanAggregate) -> list[AggregateRow]:
        """Counts and durations of spans."""
        from apm_store.sqlite import aggregates

        with self._store.snapshot() as snapshot:
            return aggregates.aggregate_spans(snapshot, question)

    def aggregate_statements(self, question: StatementAggregate) -> list[StatementRow]:
        """Counts and durations of database calls."""
        from apm_store.sqlite import aggregates

        with self._store.snapshot() as snapshot:
            return aggregates.aggregate_statements(snapshot, question)

    def statement_callers(self, statement_id: str, time_range: TimeRange) -> StatementCallers:
        """The entry operations under which a statement ran."""
        from apm_store.sqlite import callers

        with self._store.snapshot() as snapshot:
            return callers.statement_callers(snapshot, statement_id, time_range)

    def services(self) -> list[ServiceInfo]:
        """Every service that has sent a span."""
        from apm_store.sqlite import aggregates

        with self._store.snapshot() as snapshot:
            return aggregates.services(snapshot)

    def operations(self, service: str | None, time_range: TimeRange) -> list[str]:
        """Names of entry operations in the range."""
        from apm_store.sqlite import aggregates

        with self._store.snapshot() as snapshot:
            return aggregates.operations(snapshot, service, time_range)

    def coverage(self, time_range: TimeRange) -> Coverage:
        """How much of the range holds spans."""
        from apm_store.sqlite import aggregates

        with self._store.snapshot() as snapshot:
            return aggregates.coverage(snapshot, time_range)


class Metrics:
    """The store's data points; satisfies `api.MetricStore`."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def write(self, batch: Batch) -> WriteOutcome:
        """Store a batch of data points."""
        return self._store.write(Signal.METRICS, batch)

    def find(self, query: MetricQuery) -> MetricPage:
        """The streams of one metric."""
        from apm_store.sqlite import metrics

        with self._store.snapshot() as snapshot:
            return metrics.find(snapshot, query)

    def names(self, service: str | None = None) -> list[str]:
        """Names of all metrics."""
        from apm_store.sqlite import metrics

        with self._store.snapshot() as snapshot:
            return metrics.names(snapshot, service)


class Logs:
    """The store's log records; satisfies `api.LogStore`."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def write(self, batch: Batch) -> WriteOutcome:
        """Store a batch of log records."""
        return self._store.write(Signal.LOGS, batch)

    def find(self, query: LogQuery) -> Sequence[LogRecord]:
        """The log records that meet the query."""
        from apm_store.sqlite import logs

        with self._store.snapshot() as snapshot:
            return logs.find(snapshot, query)


def _open_writer(path: Path) -> Writer:
    from apm_store.sqlite.writer import Writer  # loads protobuf and zstd

    try:
        return Writer(path)
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error


def _open_status(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise StoreError(f"There is no database at {path}; start `spanwise up` first, or name another data directory.")
    try:
        return connect_reader(path)
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: sqlite3.Error) -> StoreError:
    return SchemaError(f"{path} cannot be opened as a Spanwise database: {error}.")
