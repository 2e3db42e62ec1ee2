"""What is in the log comes to be found, whatever happened to the indexes."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from builders import MS, SECOND, attribute, make_batch, make_request, make_span

from apm_store.api import Store
from apm_store.model import Batch, Signal
from apm_store.open import open_store
from apm_store.query import EdgeQuery, LogQuery, MetricQuery, SpanAggregate, TimeRange, TraceQuery
from apm_store.sqlite import edges as edges_module
from apm_store.sqlite import indexer as indexer_module
from apm_store.sqlite import retention as retention_module
from apm_store.sqlite import segment_index, trace_directory
from apm_store.sqlite.catalogue import Catalogue
from apm_store.sqlite.segment_index import SegmentIndex

EVER = TimeRange(0, 2**63)


def _batch(first: int, count: int = 3, **overrides: object) -> Batch:
    spans = [
        make_span("GET /", trace=number, span=number, start_ns=number * SECOND, attributes={"n": number})
        for number in range(first, first + count)
    ]
    return make_batch(spans)


def _everything(store: Store) -> tuple[object, ...]:
    """What questions of every kind are answered."""
    page = store.traces.find(TraceQuery(EVER))
    rare = store.traces.find(TraceQuery(EVER, attributes=(("n", "5"),)))
    traces = [store.traces.get(trace.trace_id) for trace in page.traces]
    rows = store.traces.aggregate(SpanAggregate(EVER, with_durations=True))
    logs = store.logs.find(LogQuery())
    points = store.metrics.find(MetricQuery("memory", EVER))
    health = store.health()
    return page, rare, traces, rows, logs, points, store.stats().spans, health.stored, health.duplicates, health.waiting


@pytest.fixture
def filled(
    tmp_path: Path, make_logs: Callable[..., Batch], make_gauge: Callable[..., Batch]
) -> tuple[Path, tuple[object, ...]]:
    """A closed store of all signals in three segments, and its answers."""
    store = open_store(tmp_path / "data")
    writer = store._writer  # type: ignore[attr-defined]
    for number in range(3):
        writer._segment_bytes = 1 if number else 1 << 30
        store.traces.write(_batch(1 + 4 * number, 6))
        writer._segment_bytes = 1 << 30
        store.traces.write(_batch(1 + 4 * number, 6))
        store.logs.write(make_logs([]))
        store.metrics.write(make_gauge([(number, 1.0, "a")]))
    answers = _everything(store)
    store.close()
    return tmp_path / "data", answers


def test_indexes_are_made_anew_from_the_logs(filled: tuple[Path, tuple[object, ...]]) -> None:
    """Without any index and without the catalogue, a start gives every answer as before."""
    data_dir, answers = filled
    (data_dir / "spanwise.db").unlink()
    for index in data_dir.glob("segments/*/index.db"):
        index.unlink()

    store = open_store(data_dir)
    found = _everything(store)
    store.close()

    assert found == answers


def test_a_segment_that_lags_behind_the_catalogue_catches_up(filled: tuple[Path, tuple[object, ...]]) -> None:
    """The newest index alone may be lost: nothing is counted twice, and all is found again."""
    data_dir, answers = filled
    max(data_dir.glob("segments/*/index.db")).unlink()

    store = open_store(data_dir)
    found = _everything(store)
    store.close()

    assert found == answers


def test_a_catalogue_that_lags_behind_a_segment_catches_up(tmp_path: Path) -> None:
    """When an older catalogue meets newer segments, what it lacks is counted, and nothing twice."""
    store = open_store(tmp_path / "data")
    store.traces.write(_batch(1))
    store.close()
    shutil.copy(tmp_path / "data" / "spanwise.db", tmp_path / "older.db")
    store = open_store(tmp_path / "data")
    store.traces.write(_batch(10))
    answers = _everything(store)
    store.close()
    shutil.copy(tmp_path / "older.db", tmp_path / "data" / "spanwise.db")

    store = open_store(tmp_path / "data")
    found = _everything(store)
    store.close()

    assert found == answers


@pytest.mark.parametrize("broken", [Catalogue, SegmentIndex])
def test_an_index_that_cannot_be_written_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: type
) -> None:
    """While a database refuses, requests are still acknowledged; afterwards everything is found, once."""
    monkeypatch.setattr(indexer_module, "_RETRY_S", 0.01)
    real = broken.commit
    faults = [sqlite3.OperationalError("database or disk is full")] * 3

    def commit(self: object, *values: object) -> None:
        if faults:
            raise faults.pop()
        real(self, *values)

    store = open_store(tmp_path / "data")
    monkeypatch.setattr(broken, "commit", commit)
    store.traces.write(_batch(1))
    store.traces.write(_batch(1))
    store.traces.write(_batch(2))

    [row] = store.traces.aggregate(SpanAggregate(EVER))
    health = store.health()
    store.close()
    assert faults == []
    assert row.count == health.stored["traces"] == 4
    assert health.duplicates["traces"] == 5


def test_other_processes_find_it_soon(tmp_path: Path) -> None:
    """Without being asked to, the indexer makes an acknowledged span visible to readers within 2 s."""
    store = open_store(tmp_path / "data")
    reading = open_store(tmp_path / "data", read_only=True)
    store.traces.write(_batch(1))
    acknowledged_s = time.monotonic()

    while not reading.traces.get(f"{1:032x}"):
        assert time.monotonic() - acknowledged_s < 2.0
        time.sleep(0.02)

    store.close()
    reading.close()


def test_blocks_of_every_age_answer_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether spans lie in open or full blocks, and traces are settled or not, makes no difference."""
    monkeypatch.setattr(segment_index, "BLOCK_SPANS", 10)
    monkeypatch.setattr(trace_directory, "SETTLE_S", 0.0)
    plain, quick = open_store(tmp_path / "plain"), open_store(tmp_path / "quick")
    for number in range(1, 40, 3):
        for store in (plain, quick):
            store.traces.write(_batch(number, 5))
        quick.stats()
    monkeypatch.undo()

    answers = _everything(plain), _everything(quick)

    plain.close()
    quick.close()
    assert answers[0] == answers[1]


def test_a_late_span_corrects_the_summary_of_its_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A span that comes after its trace was written is added to the trace's row: bounds, counts and root."""
    monkeypatch.setattr(trace_directory, "SETTLE_S", 0.0)
    store = open_store(tmp_path / "data")
    child = make_span("child", trace=1, span=2, parent=1, start_ns=1_000 * SECOND, duration_ns=MS)
    root = make_span("root", trace=1, span=1, start_ns=999 * SECOND, duration_ns=5 * SECOND, failed=True)
    store.traces.write(make_batch([child]))
    store.stats()
    store.traces.write(make_batch([root]))
    store.close()

    connection = sqlite3.connect(tmp_path / "data" / "segments" / "000001" / "index.db")
    [row] = connection.execute(
        "SELECT first_ns, last_ns, span_count, error_count, root_operation_id > 0 FROM trace"
    ).fetchall()
    connection.close()
    assert row == (999 * SECOND, 1_004 * SECOND, 2, 1, 1)


def test_a_request_that_cannot_be_understood_costs_no_other(tmp_path: Path) -> None:
    """It stays in the log, a notice tells of it, and what comes before and after is found."""
    store = open_store(tmp_path / "data")
    store.traces.write(_batch(1))
    store.traces.write(Batch(Signal.TRACES, None, b"\xff no protobuf", 1))
    store.traces.write(_batch(10))

    page = store.traces.find(TraceQuery(EVER))
    notices = store.health().notices
    store.close()

    assert page.total == 6
    assert ["could not be read" in notice.text for notice in notices] == [True]


def test_names_in_an_undone_transaction_are_given_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids of names that a failed commit took with it are not used any more."""
    monkeypatch.setattr(indexer_module, "_RETRY_S", 0.01)
    real = Catalogue.commit
    faults = [sqlite3.OperationalError("disk I/O error")]

    def commit(self: Catalogue, *values: int) -> None:
        if faults:
            raise faults.pop()
        real(self, *values)

    store = open_store(tmp_path / "data")
    monkeypatch.setattr(Catalogue, "commit", commit)
    store.traces.write(make_batch([make_span("first", trace=1)], service="a"))
    store.traces.write(make_batch([make_span("second", trace=2)], service="b"))

    page = store.traces.find(TraceQuery(EVER))
    names = {(trace.matched.service, trace.matched.operation) for trace in page.traces}
    store.close()
    assert names == {("a", "first"), ("b", "second")}


def test_resource_attributes_are_tokens_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A span in a full block is found by an attribute of its resource."""
    monkeypatch.setattr(segment_index, "BLOCK_SPANS", 1)
    request = make_request([make_span("GET /")])
    request.resource_spans[0].resource.attributes.append(attribute("host.name", "Jupiter"))
    store = open_store(tmp_path / "data")
    store.traces.write(Batch(Signal.TRACES, request, request.SerializeToString(), 1))

    totals = [
        store.traces.find(TraceQuery(EVER, attributes=((key, value),))).total
        for key, value in (("host.name", "Jupiter"), ("host.name", "Juno"), ("service.name", "shop"))
    ]
    store.close()
    assert totals == [1, 0, 1]


def test_open_blocks_stay_few(tmp_path: Path) -> None:
    """However often a slow store is flushed, questions have to look into a few open blocks only."""
    store = open_store(tmp_path / "data")
    for number in range(1, 60):
        store.traces.write(_batch(number, 1))
        store.stats()

    page = store.traces.find(TraceQuery(EVER))
    connection = sqlite3.connect(tmp_path / "data" / "segments" / "000001" / "index.db")
    blocks, spans = connection.execute("SELECT count(*), sum(span_count) FROM block").fetchone()
    connection.close()
    store.close()
    assert (page.total, spans) == (59, 59)
    assert blocks <= 16


def test_a_trace_that_never_becomes_quiet_is_written_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers need not look through all blocks since such a trace began, and still see all of its spans."""
    monkeypatch.setattr(trace_directory, "_LONGEST_S", 0.0)
    monkeypatch.setattr(segment_index, "BLOCK_SPANS", 1)
    store = open_store(tmp_path / "data")
    firsts = []
    for number in range(1, 6):
        store.traces.write(make_batch([make_span("part", trace=1, span=number)]))
        spans = store.traces.get(f"{1:032x}")
        connection = sqlite3.connect(tmp_path / "data" / "segments" / "000001" / "index.db")
        firsts.append(connection.execute("SELECT first_unsettled_block FROM state").fetchone()[0])
        connection.close()
        assert len(spans) == number
    store.close()

    assert firsts == sorted(set(firsts))


def test_a_call_that_two_libraries_saw_is_one_edge(tmp_path: Path) -> None:
    """Of SQLAlchemy's span and the driver's for one statement, one reaches the service map."""
    request = make_request([make_span("GET /", trace=1, span=1)])
    for number, scope in enumerate(("sqlalchemy", "psycopg"), 2):
        call = make_span("SELECT", trace=1, span=number, parent=number - 1, kind=3, duration_ns=(20 - number) * MS)
        call.attributes.extend([attribute("db.system", "postgresql"), attribute("db.statement", "SELECT 1")])
        block = request.resource_spans[0].scope_spans.add()
        block.scope.name = scope
        block.spans.append(call)
    store = open_store(tmp_path / "data")
    store.traces.write(Batch(Signal.TRACES, request, request.SerializeToString(), 3))

    edges = {(edge.source, edge.target): edge.count for edge in store.traces.edges(EdgeQuery(EVER))}
    store.close()
    assert edges == {("user", "shop"): 1, ("shop", "postgresql"): 1}


def test_a_quiet_store_settles_what_waited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without anything new coming, traces are written, and a call whose other half never came reaches the map."""
    monkeypatch.setattr(indexer_module, "SETTLE_S", 0.0)
    monkeypatch.setattr(indexer_module, "FLUSH_S", 0.0)
    monkeypatch.setattr(trace_directory, "SETTLE_S", 0.0)
    monkeypatch.setattr(edges_module, "_WAIT_NS", 0)
    monkeypatch.setattr(retention_module, "CHECK_S", 0.05)
    store = open_store(tmp_path / "data")
    call = make_span("GET", trace=1, span=1, kind=3, attributes={"server.address": "api.example", "http.method": "GET"})
    store.traces.write(make_batch([call]))
    path = tmp_path / "data" / "segments" / "000001" / "index.db"
    deadline_s = time.monotonic() + 10
    rows: list[object] = []
    edges: list[str] = []
    while time.monotonic() < deadline_s and not (rows and edges):
        edges = [edge.target for edge in store.traces.edges(EdgeQuery(EVER))]
        with sqlite3.connect(path) as connection:
            rows = connection.execute("SELECT * FROM trace").fetchall()
        time.sleep(0.05)

    store.close()
    assert len(rows) == 1
    assert edges == ["api.example"]
