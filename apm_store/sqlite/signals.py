"""The three signals of a SQLite store, as `api` describes them; reading is loaded on the first question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
    ServiceEdge,
    ServiceInfo,
    SpanAggregate,
    StatementAggregate,
    StatementCallers,
    StatementRow,
    TimeRange,
    TracePage,
    TraceQuery,
)

if TYPE_CHECKING:
    from apm_store.sqlite.store import SqliteStore

_WHOLE_TRACE_PATIENCE = 8.0  # a trace has no second page to ask for: 100,000 spans take about 2 s of CPU


class Traces:
    """The store's spans; satisfies `api.TraceStore`, which tells what each question means."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def write(self, batch: Batch) -> None:
        """Store a batch of spans."""
        self._store.write(Signal.TRACES, batch)

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

    def edges(self, query: EdgeQuery) -> list[ServiceEdge]:
        """Who calls whom."""
        from apm_store.sqlite import service_edges

        with self._store.snapshot() as snapshot:
            return service_edges.edges(snapshot, query)


class Metrics:
    """The store's data points; satisfies `api.MetricStore`."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def write(self, batch: Batch) -> None:
        """Store a batch of data points."""
        self._store.write(Signal.METRICS, batch)

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

    def series(self, query: MetricSeriesQuery) -> MetricSeriesPage:
        """One metric over time."""
        from apm_store.sqlite import metrics

        with self._store.snapshot() as snapshot:
            return metrics.series(snapshot, query)


class Logs:
    """The store's log records; satisfies `api.LogStore`."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def write(self, batch: Batch) -> None:
        """Store a batch of log records."""
        self._store.write(Signal.LOGS, batch)

    def find(self, query: LogQuery) -> Sequence[LogRecord]:
        """The log records that meet the query."""
        from apm_store.sqlite import logs

        with self._store.snapshot() as snapshot:
            return logs.find(snapshot, query)
