"""Every question of the store runs the SQL, and takes the way through the indexes, that its golden file shows.

A file is written anew when it is deleted; read the difference before you keep it.
"""

from __future__ import annotations

import re
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
    GroupBy,
    LogQuery,
    MetricQuery,
    Outcome,
    SpanAggregate,
    StatementAggregate,
    TimeRange,
    TraceQuery,
)
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
    "services": lambda store: store.traces.services(),
    "operations": lambda store: store.traces.operations("shop", RANGE),
    "coverage": lambda store: store.traces.coverage(RANGE),
    "logs_of_trace": lambda store: store.logs.find(LogQuery(trace_id=TRACE)),
    "logs_of_service": lambda store: store.logs.find(LogQuery(RANGE, service="shop")),
    "logs_newest": lambda store: store.logs.find(LogQuery(RANGE)),
    "metric": lambda store: store.metrics.find(MetricQuery("memory", RANGE, "shop")),
    "metric_names": lambda store: store.metrics.names(),
}
LARGE_TABLES = ("span", "body", "log_record", "data_point", "span_rollup", "statement_rollup", "minute")


@pytest.fixture
def filled(tmp_path: Path, make_logs: Callable[..., Batch], make_gauge: Callable[..., Batch]) -> Iterator[SqliteStore]:
    """A store in which every question finds something, so that all of its SQL is run."""
    store = SqliteStore(tmp_path / "spanwise.db", read_only=False)
    attributes = {"db.query.text": "SELECT 1", "db.system.name": "sqlite"}
    call = make_span("SELECT", span=2, parent=1, kind=3, attributes=attributes)
    store.traces.write(make_batch([make_span("GET /", failed=True), call]))
    store.logs.write(make_logs([LogRecord(time_unix_nano=1_000 * SECOND, trace_id=bytes.fromhex(TRACE))]))
    store.metrics.write(make_gauge([(1_000, 1.0, "a")]))
    yield store
    store.close()


def _executed(store: SqliteStore, ask: Ask) -> list[tuple[str, Any]]:
    """The statements that a question runs, with their parameters."""
    with store.snapshot():
        pass  # opens the pool
    assert store._reader is not None
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement != "BEGIN":
            seen.append((statement, parameters))

    event.listen(store._reader.engine, "before_cursor_execute", note)
    ask(store)
    event.remove(store._reader.engine, "before_cursor_execute", note)
    return seen


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_runs_its_golden_sql_and_plan(filled: SqliteStore, name: str) -> None:
    """SQL and query plan are those of the golden file, and no large table is scanned without an index."""
    executed = _executed(filled, QUESTIONS[name])

    assert executed
    parts = []
    for sql, parameters in executed:
        steps = [row[3] for row in filled._status.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
        plan = [step for step in steps if step.startswith(("SEARCH", "SCAN", "USE TEMP"))]  # the rest is framing
        scans = [
            line for line in plan for table in LARGE_TABLES if re.fullmatch(rf"SCAN {table}( USING INDEX .*)?", line)
        ]
        assert scans == []
        parts.append("\n".join([sql, *(f"-- {line}" for line in plan)]))
    text = re.sub(r" +\n", "\n", "\n\n".join(parts)) + "\n"
    golden = GOLDEN / f"{name}.txt"
    if not golden.exists():
        golden.write_text(text)
        pytest.fail(f"{golden.name} was missing and has been written; read it, then run again")
    assert text == golden.read_text()
