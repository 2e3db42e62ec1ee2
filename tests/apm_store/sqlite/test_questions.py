"""Every question of the store runs the SQL, and takes the way through the indexes, that its golden file shows.

A file is written anew when it is deleted; read the difference before you keep it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import SECOND, make_batch, make_span
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from sqlalchemy import event

from apm_store.fingerprint import fingerprint
from apm_store.model import Batch
from apm_store.query import (
    MINUTE_NS,
    EdgeQuery,
    GroupBy,
    LogQuery,
    MetricQuery,
    MetricSeriesQuery,
    Outcome,
    SpanAggregate,
    StatementAggregate,
    TimeRange,
    TraceQuery,
)
from apm_store.sqlite.connections import connect_reader
from apm_store.sqlite.migrations import CATALOGUE, SEGMENT
from apm_store.sqlite.segment_reader import SegmentSnapshot
from apm_store.sqlite.segments import SegmentFiles
from apm_store.sqlite.store import SqliteStore

GOLDEN = Path(__file__).parents[1] / "golden"
RANGE = TimeRange(900 * SECOND, 9_000 * SECOND)
TRACE, SPAN = f"{1:032x}", f"{1:016x}"
STATEMENT = fingerprint("SELECT 1", "sqlite")
assert STATEMENT is not None

Ask = Callable[[SqliteStore], object]
QUESTIONS: dict[str, Ask] = {
    "traces_newest": lambda store: store.traces.find(TraceQuery(RANGE)),
    "traces_slowest": lambda store: store.traces.find(TraceQuery(RANGE, order="slowest")),
    "traces_of_service": lambda store: store.traces.find(TraceQuery(RANGE, service="shop")),
    "traces_of_operation": lambda store: store.traces.find(TraceQuery(RANGE, operation="GET /")),
    "traces_of_service_and_operation": lambda store: store.traces.find(
        TraceQuery(RANGE, service="shop", operation="GET /", outcome=Outcome.FAILED, min_duration_ns=1)
    ),
    "traces_of_statement": lambda store: store.traces.find(
        TraceQuery(RANGE, service="shop", statement_id=STATEMENT.hash)
    ),
    "traces_with_attribute": lambda store: store.traces.find(
        TraceQuery(RANGE, service="shop", operation="SELECT", attributes=(("db.query.text", "SELECT 1"),))
    ),
    "trace": lambda store: store.traces.get(TRACE),
    "span": lambda store: store.traces.get_span(TRACE, SPAN),
    "aggregate": lambda store: store.traces.aggregate(
        SpanAggregate(RANGE, (GroupBy.SERVICE, GroupBy.OPERATION), service="shop", with_durations=True)
    ),
    "aggregate_statements": lambda store: store.traces.aggregate_statements(StatementAggregate(RANGE)),
    "statement_callers": lambda store: store.traces.statement_callers(STATEMENT.hash, RANGE),
    "edges": lambda store: store.traces.edges(EdgeQuery(RANGE)),
    "services": lambda store: store.traces.services(),
    "operations": lambda store: store.traces.operations("shop", RANGE),
    "coverage": lambda store: store.traces.coverage(RANGE),
    "logs_of_trace": lambda store: store.logs.find(LogQuery(trace_id=TRACE)),
    "logs_of_service": lambda store: store.logs.find(LogQuery(RANGE, service="shop")),
    "logs_newest": lambda store: store.logs.find(LogQuery(RANGE)),
    "metric": lambda store: store.metrics.find(MetricQuery("memory", RANGE, "shop")),
    "metric_series": lambda store: store.metrics.series(MetricSeriesQuery("memory", RANGE, MINUTE_NS, "shop")),
    "metric_names": lambda store: store.metrics.names(),
}
CATALOGUE_TABLES = ("service_rollup", "span_rollup", "statement_rollup", "edge_rollup", "minute")
SEGMENT_TABLES = ("body", "block", "block_filter", "trace", "log_record", "data_point")


@pytest.fixture
def filled(tmp_path: Path, make_logs: Callable[..., Batch], make_gauge: Callable[..., Batch]) -> Iterator[SqliteStore]:
    """A store in which every question finds something, so that all of its SQL is run."""
    store = SqliteStore(tmp_path, read_only=False)
    attributes = {"db.query.text": "SELECT 1", "db.system.name": "sqlite"}
    call = make_span("SELECT", span=2, parent=1, kind=3, attributes=attributes)
    store.traces.write(make_batch([make_span("GET /", failed=True), call]))
    store.logs.write(make_logs([LogRecord(time_unix_nano=1_000 * SECOND, trace_id=bytes.fromhex(TRACE))]))
    store.metrics.write(make_gauge([(1_000, 1.0, "a")]))
    yield store
    store.close()


@pytest.fixture
def explainers(filled: SqliteStore, tmp_path: Path) -> Iterator[dict[str, sqlite3.Connection]]:
    """Connections to the two databases of the store, by file name."""
    filled.stats()  # returns after a flush
    opened = {
        "spanwise.db": connect_reader(tmp_path / "spanwise.db", CATALOGUE),
        "index.db": connect_reader(SegmentFiles(tmp_path, 1).index, SEGMENT),
    }
    yield opened
    for connection in opened.values():
        connection.close()


def _executed(store: SqliteStore, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Any]]:
    """The statements that a question runs: file name, SQL, parameters."""
    with store.snapshot():
        pass  # opens the pool
    assert store._reader is not None
    seen: list[tuple[str, str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement not in ("BEGIN", "COMMIT"):
            seen.append(("spanwise.db", statement, parameters))

    def noting(run: Callable[..., Any]) -> Callable[..., Any]:
        def execute(segment: SegmentSnapshot, sql: str, parameters: Any = ()) -> Any:
            seen.append(("index.db", sql, parameters))
            return run(segment, sql, parameters)

        return execute

    for name in ("execute", "stream"):
        monkeypatch.setattr(SegmentSnapshot, name, noting(getattr(SegmentSnapshot, name)))
    event.listen(store._reader.engine, "before_cursor_execute", note)
    ask(store)
    event.remove(store._reader.engine, "before_cursor_execute", note)
    return seen


def _explained(connection: sqlite3.Connection, sql: str, parameters: Any) -> list[str]:
    """How SQLite goes about a statement, without what only frames the steps."""
    steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
    return [step for step in steps if step.startswith(("SEARCH", "SCAN", "USE TEMP"))]


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_runs_its_golden_sql_and_plan(
    filled: SqliteStore, explainers: dict[str, sqlite3.Connection], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQL and query plan are those of the golden file, and no large table is scanned without an index."""
    executed = _executed(filled, QUESTIONS[name], monkeypatch)

    assert executed
    parts = []
    for file_name, sql, parameters in executed:
        plan = _explained(explainers[file_name], sql, parameters)
        tables = "|".join(CATALOGUE_TABLES + SEGMENT_TABLES)
        assert [line for line in plan if re.fullmatch(rf"SCAN ({tables})( USING INDEX .*)?", line)] == []
        parts.append("\n".join([f"-- {file_name}", sql, *(f"-- {line}" for line in plan)]))
    text = re.sub(r" +\n", "\n", "\n\n".join(parts)) + "\n"
    golden = GOLDEN / f"{name}.txt"
    if not golden.exists():
        golden.write_text(text)
        pytest.fail(f"{golden.name} was missing and has been written; read it, then run again")
    assert text == golden.read_text()
