"""A database call that two instrumentations saw counts once."""

from __future__ import annotations

from random import Random

from builders import attribute, make_request, make_span

from apm_store.api import Store
from apm_store.model import Batch, Signal
from apm_store.query import StatementAggregate, TimeRange
from apm_store.sqlite.database_calls import DatabaseCall, seen_twice

ALCHEMY = "opentelemetry.instrumentation.sqlalchemy"
DRIVER = "opentelemetry.instrumentation.sqlite3"


def _call(index: int, start: int, end: int, scope: str, *, parent: int = 1, statement: str = "s") -> DatabaseCall:
    return DatabaseCall(index, (statement,), bytes([index]), bytes([parent]), start, end, scope)


def _dropped(*calls: DatabaseCall) -> set[int]:
    return set(seen_twice(calls))


def test_of_overlapping_siblings_sqlalchemy_counts() -> None:
    """The driver's span beside SQLAlchemy's is the same call, whichever started first."""
    assert _dropped(_call(10, 0, 9, ALCHEMY), _call(11, 1, 8, DRIVER)) == {11}
    assert _dropped(_call(10, 2, 8, ALCHEMY), _call(11, 1, 9, DRIVER)) == {11}


def test_of_parent_and_child_the_inner_one_counts() -> None:
    """An outer span of the same statement is the same call."""
    assert _dropped(_call(10, 0, 9, ALCHEMY), _call(11, 1, 8, DRIVER, parent=10)) == {10}


def test_calls_after_each_other_all_count() -> None:
    """An N+1 of three calls, each seen twice, is three calls."""
    calls = [_call(10 + n, 10 * n, 10 * n + 9, ALCHEMY) for n in range(3)]
    calls += [_call(20 + n, 10 * n + 1, 10 * n + 8, DRIVER) for n in range(3)]
    Random(3).shuffle(calls)

    assert _dropped(*calls) == {20, 21, 22}


def test_concurrent_calls_of_one_scope_all_count() -> None:
    """Two threads that run the same statement at once made two calls."""
    assert _dropped(_call(10, 0, 9, DRIVER), _call(11, 1, 8, DRIVER)) == set()


def test_other_statements_and_other_parents_are_other_calls() -> None:
    """Overlap alone makes no duplicate."""
    assert _dropped(_call(10, 0, 9, ALCHEMY), _call(11, 1, 8, DRIVER, statement="t")) == set()
    assert _dropped(_call(10, 0, 9, ALCHEMY), _call(11, 1, 8, DRIVER, parent=2)) == set()


def test_a_span_that_is_its_own_parent_counts() -> None:
    """A span whose parent is itself is not its own duplicate."""
    assert _dropped(_call(10, 0, 9, DRIVER, parent=10), _call(11, 20, 29, DRIVER)) == set()


def test_the_store_counts_a_call_seen_twice_once(store: Store, all_time: TimeRange) -> None:
    """From a request with both instrumentations' spans one call is counted, and both spans are kept."""
    request = make_request([make_span("GET /")])
    for scope, span in ((DRIVER, 2), (ALCHEMY, 3)):
        block = request.resource_spans[0].scope_spans.add()
        block.scope.name = scope
        block.spans.append(make_span("SELECT", span=span, parent=1, kind=3))
        block.spans[0].attributes.append(attribute("db.statement", "SELECT 1"))
    store.traces.write(Batch(Signal.TRACES, request, request.SerializeToString(), 3))

    [row] = store.traces.aggregate_statements(StatementAggregate(all_time))

    assert row.count == 1
    assert len(store.traces.get("0" * 31 + "1")) == 3
