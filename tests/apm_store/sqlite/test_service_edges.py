"""The service map is read from the edges that were counted while spans were indexed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from builders import MS, SECOND, make_batch, make_span
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from apm_store.api import Store
from apm_store.open import open_store
from apm_store.query import HOUR_NS, EdgeQuery, TimeRange
from apm_store.sqlite.connections import connect_writer
from apm_store.sqlite.dictionaries import Dictionaries
from apm_store.sqlite.edges import EdgeCell, EdgeKey, EdgeRollup
from apm_store.sqlite.migrations import CATALOGUE

CLIENT, SERVER = Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_SERVER
RANGE = TimeRange(0, HOUR_NS)
Found = dict[tuple[str, str, str], tuple[int, int, bool, bool]]


def found(store: Store, time_range: TimeRange = RANGE) -> Found:
    """The edges by (source, target, kind): calls, failures, whether either end is virtual."""
    return {
        (edge.source, edge.target, edge.kind): (
            edge.count,
            edge.failed_count,
            edge.is_virtual_source,
            edge.is_virtual_target,
        )
        for edge in store.traces.edges(EdgeQuery(time_range))
    }


def test_written_spans_are_edges(store: Store) -> None:
    """Three services and a database that call each other are a map, once all halves are there."""
    http = {"server.address": "pay", "http.request.method": "POST"}
    database = {"db.system.name": "postgresql", "server.address": "db", "server.port": 5432}
    pay = [
        make_span("POST /pay", span=3, parent=2, failed=True),
        make_span("SELECT", span=4, parent=3, kind=CLIENT, attributes=database),
        make_span("SELECT", span=5, parent=3, kind=CLIENT, attributes=database),
    ]
    shop = [
        make_span("GET /", span=1, attributes={"http.response.status_code": 200}),
        make_span("POST", span=2, parent=1, kind=CLIENT, attributes=http, duration_ns=20 * MS),
    ]
    store.traces.write(make_batch(pay, "pay"))
    store.traces.write(make_batch(shop, "shop"))
    store.traces.write(make_batch(shop, "shop"))

    edges = found(store)
    [call] = [edge for edge in store.traces.edges(EdgeQuery(RANGE)) if edge.target == "pay"]

    assert edges == {
        ("user", "shop", "http"): (1, 0, True, False),
        ("shop", "pay", "http"): (1, 1, False, False),
        ("pay", "db:5432", "database"): (2, 0, False, True),
    }
    assert (call.client_durations.count, call.server_durations.count) == (1, 1)
    assert (call.client_durations.quantile(0.5) or 0) > (call.server_durations.quantile(0.5) or 0)


def test_edges_of_a_range_are_summed_up_over_hours_and_minutes(tmp_path: Path) -> None:
    """Whole hours come from one roll-up, the edges of the range from the other; corrected ones are gone."""
    data_dir = tmp_path / "data"
    open_store(data_dir).close()
    with closing(connect_writer(data_dir / "spanwise.db", CATALOGUE)) as connection:
        connection.execute("BEGIN")
        counted = {
            EdgeKey(minute * 60, "shop", "pay", "http", False, False): EdgeCell(1, 0, {5: 1}, {4: 1})
            for minute in range(240)
        }
        counted[EdgeKey(60, "shop", "gone", "http", False, True)] = EdgeCell(0, 0, {5: 0}, {})
        EdgeRollup().flush(connection, Dictionaries(connection), counted)
        connection.execute("COMMIT")
    store = open_store(data_dir, read_only=True)
    times = [TimeRange(50 * 60 * SECOND, (181 * 60 + 1) * SECOND), TimeRange(0, 0), TimeRange(300 * 60 * SECOND, 2**63)]
    answers = [found(store, time_range) for time_range in times]
    [edge] = store.traces.edges(EdgeQuery(times[0]))
    store.close()

    assert answers == [{("shop", "pay", "http"): (132, 0, False, False)}, {}, {}]
    assert (edge.client_durations.buckets, edge.server_durations.buckets) == ({5: 132}, {4: 132})


def test_the_busiest_edge_comes_first(tmp_path: Path) -> None:
    """Most calls first, then by name."""
    data_dir = tmp_path / "data"
    open_store(data_dir).close()
    with closing(connect_writer(data_dir / "spanwise.db", CATALOGUE)) as connection:
        connection.execute("BEGIN")
        for target, calls in (("b", 1), ("c", 3), ("a", 1)):
            edge = {EdgeKey(0, "shop", target, "http", False, False): EdgeCell(calls)}
            EdgeRollup().flush(connection, Dictionaries(connection), edge)
        connection.execute("COMMIT")
    store = open_store(data_dir, read_only=True)
    order = [edge.target for edge in store.traces.edges(EdgeQuery(RANGE))]
    store.close()

    assert order == ["c", "a", "b"]
