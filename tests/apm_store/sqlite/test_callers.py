"""Who calls a statement is told from its newest calls."""

from __future__ import annotations

import pytest
from builders import SECOND, make_batch, make_span

from apm_store.api import Store
from apm_store.query import StatementAggregate, TimeRange

RANGE = TimeRange(960 * SECOND, 1_500 * SECOND)


def _write(store: Store, first: int, count: int, entry: str) -> None:
    """Store traces of an entry span and one database call, one per second."""
    for trace in range(first, first + count):
        times = {"trace": trace, "start_ns": (1_000 + trace) * SECOND}
        call = make_span("SELECT", span=2, parent=1, kind=3, attributes={"db.query.text": "SELECT 1"}, **times)
        store.traces.write(make_batch([make_span(entry, **times), call]))


@pytest.mark.parametrize("block_spans", [16, 4_096])
def test_the_newest_calls_are_sampled_and_all_are_counted(
    store: Store, block_spans: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 260 calls the newest 200 tell the callers; the total is of all."""
    monkeypatch.setattr("apm_store.sqlite.segment_index.BLOCK_SPANS", block_spans)
    _write(store, 1, 100, "GET /old")
    _write(store, 101, 160, "GET /new")
    [row] = store.traces.aggregate_statements(StatementAggregate(RANGE))

    found = store.traces.statement_callers(row.statement_id, RANGE)

    assert found.callers == (("shop", "GET /new", 160), ("shop", "GET /old", 40))
    assert (found.sampled, found.total) == (200, 260)


def test_few_calls_are_counted_to_the_nanosecond(store: Store) -> None:
    """Where all calls are looked at, the total is exact within the range."""
    _write(store, 1, 9, "GET /")
    [row] = store.traces.aggregate_statements(StatementAggregate(RANGE))

    found = store.traces.statement_callers(row.statement_id, TimeRange(1_003 * SECOND, 1_006 * SECOND))

    assert (found.callers, found.sampled, found.total) == ((("shop", "GET /", 3),), 3, 3)


def test_a_statement_that_nobody_knows_has_no_callers(store: Store) -> None:
    """An unknown id has no calls."""
    found = store.traces.statement_callers("0" * 16, RANGE)

    assert (found.callers, found.sampled, found.total) == ((), 0, 0)
