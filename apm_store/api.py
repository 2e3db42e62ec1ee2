"""What a store must do, and how it says that it cannot.

A backend implements these protocols; the write path and the read path know nothing else of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from apm_store.model import Batch, LogRecord, Signal, Span
from apm_store.query import (
    AggregateRow,
    Coverage,
    EdgeQuery,
    LogQuery,
    MetricPage,
    MetricQuery,
    MetricSeriesPage,
    MetricSeriesQuery,
    PruneEntry,
    ServiceEdge,
    ServiceInfo,
    SpanAggregate,
    StatementAggregate,
    StatementCallers,
    StatementRow,
    StoreHealth,
    StoreStats,
    TimeRange,
    TracePage,
    TraceQuery,
)


class StoreError(Exception):
    """The store could not answer."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class StoreBusyError(StoreError):
    """The store has more to write than its memory budget allows; try again."""


class StoreFullError(StoreBusyError):
    """The disk is full; nothing more can be stored until there is space."""


class StoreTimeoutError(StoreError):
    """The store did not answer in time."""


class StoreClosedError(StoreError):
    """The store is closed."""


class SchemaError(StoreError):
    """The database was written by a newer Spanwise, or is not a Spanwise database."""


class SignalWriter(Protocol):
    """Takes batches of one signal."""

    def write(self, batch: Batch) -> None:
        """Store a batch; MUST return only after it is durable.

        It can be found soon after: by questions to this store at once, by those of other processes within 2 s while
        the indexes keep up. Items that the store holds already are left out then, and counted.
        Safe from many threads; concurrent calls SHOULD share one commit.
        Raises StoreFullError, StoreBusyError (nothing stored, try again) or StoreError (nothing stored).
        """
        ...


class TraceStore(SignalWriter, Protocol):
    """Spans, by trace and in aggregate."""

    def find(self, query: TraceQuery, *, max_points: int = 0) -> TracePage:
        """The traces that meet the query."""
        ...

    def get(self, trace_id: str) -> list[Span]:
        """Every span of a trace in order of start; empty when there is none."""
        ...

    def get_span(self, trace_id: str, span_id: str) -> Span | None:
        """One span with all its attributes."""
        ...

    def aggregate(self, question: SpanAggregate) -> list[AggregateRow]:
        """Counts and durations of spans, by group and step; groups without spans are left out."""
        ...

    def aggregate_statements(self, question: StatementAggregate) -> list[StatementRow]:
        """Counts and durations of database calls, by statement and service (and step)."""
        ...

    def statement_callers(self, statement_id: str, time_range: TimeRange) -> StatementCallers:
        """The entry operations under which a statement ran."""
        ...

    def services(self) -> list[ServiceInfo]:
        """Every service ever seen, by name."""
        ...

    def operations(self, service: str | None, time_range: TimeRange) -> list[str]:
        """Names of entry operations that ran in the range, sorted."""
        ...

    def coverage(self, time_range: TimeRange) -> Coverage:
        """How much of the range holds spans."""
        ...

    def edges(self, query: EdgeQuery) -> list[ServiceEdge]:
        """Who calls whom in the range: the edges of the service map, most calls first."""
        ...


class MetricStore(SignalWriter, Protocol):
    """Metrics and their data points."""

    def find(self, query: MetricQuery) -> MetricPage:
        """The streams of one metric with their data points in the range."""
        ...

    def names(self, service: str | None = None) -> list[str]:
        """Names of all metrics, sorted."""
        ...

    def series(self, query: MetricSeriesQuery) -> MetricSeriesPage:
        """One metric over time, summed up by stream and step."""
        ...


class LogStore(SignalWriter, Protocol):
    """Log records."""

    def find(self, query: LogQuery) -> Sequence[LogRecord]:
        """The log records that meet the query, newest first."""
        ...


class Store(Protocol):
    """One store of all signals. `close` is idempotent, drains what was taken, and is safe at any time."""

    @property
    def traces(self) -> TraceStore:
        """Spans."""
        ...

    @property
    def metrics(self) -> MetricStore:
        """Data points."""
        ...

    @property
    def logs(self) -> LogStore:
        """Log records."""
        ...

    def stats(self) -> StoreStats:
        """Counts, size and growth; cheap enough to ask every second."""
        ...

    def health(self) -> StoreHealth:
        """Counts that add up, lags, sizes, and what a person must know; cheap enough to ask every few seconds."""
        ...

    def bodies(self, signal: Signal, time_range: TimeRange) -> Iterator[bytes]:
        """The stored OTLP export requests with an item in the range, serialised, oldest first."""
        ...

    def backup(self, target: Path) -> None:
        """Copy the store into a directory that does not exist yet; all that was acknowledged before is in it."""
        ...

    def prune(self, *, before_ns: int | None = None, to_bytes: int | None = None) -> PruneEntry | None:
        """Remove the oldest raw data: all received before a time, or until the store fits; None when there was none.

        It goes by the time of receipt, not by the items' own times. Roll-ups stay. Needs a store opened for writing.
        """
        ...

    def close(self) -> None:
        """Write what was taken, then let go of the database."""
        ...
