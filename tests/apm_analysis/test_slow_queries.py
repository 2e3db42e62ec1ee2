"""Database statements of a real store, by the time they cost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from apm_analysis.slow_queries import rank_slow_queries, statement_series
from apm_store.api import Store
from apm_store.query import HOUR_NS, MINUTE_NS, TimeRange

START_NS = 1_764_000_000_000_000_000
HOUR = TimeRange(START_NS, START_NS + HOUR_NS)
Write = Callable[..., None]


def sql(text: str) -> dict[str, object]:
    """The fields of a span that calls a database."""
    attributes = {"db.system.name": "postgresql", "db.namespace": "shop", "db.query.text": text}
    return {"operation": text.partition(" ")[0], "kind": 3, "attributes": attributes}


def test_statements_are_ranked_by_total_time(store: Store, write: Write) -> None:
    """Many quick calls may cost less than one slow one; shares are of all database time."""
    write("shop", [(START_NS, 10, False)] * 10, **sql("SELECT * FROM cart WHERE id = 1"))
    write("shop", [(START_NS, 200, False), (START_NS, 100, True)], **sql("SELECT * FROM stock"))

    slow, quick = rank_slow_queries(store, HOUR)

    assert (slow.count, slow.failed_count, slow.total_ns, slow.max_ns) == (2, 1, 300_000_000, 200_000_000)
    assert (slow.system, slow.namespace, slow.service) == ("postgresql", "shop", "shop")
    assert "stock" in slow.text
    assert slow.worst_trace_id == f"{11:032x}"
    assert (slow.share_of_total, quick.share_of_total) == (0.75, 0.25)
    assert [quick.count, quick.p50_ns, quick.p95_ns] == pytest.approx([10, 10e6, 10e6], rel=0.01)


def test_one_statement_of_two_services_is_ranked_twice(store: Store, write: Write) -> None:
    """A statement stands by the service that calls it, and a service may be asked for alone."""
    write("shop", [(START_NS, 10, False)], **sql("SELECT 1"))
    write("bank", [(START_NS, 30, False)], **sql("SELECT 1"))

    both = rank_slow_queries(store, HOUR)
    bank = rank_slow_queries(store, HOUR, "bank")

    assert [query.service for query in both] == ["bank", "shop"]
    assert len({query.statement_id for query in both}) == 1
    assert [(query.service, query.share_of_total) for query in bank] == [("bank", 1)]


def test_without_statements_there_is_no_ranking(store: Store, write: Write) -> None:
    """Requests that call no database are no slow queries."""
    write("shop", [(START_NS, 10, False)])

    assert rank_slow_queries(store, HOUR) == []
    assert statement_series(store, HOUR, MINUTE_NS) == []


def test_calls_that_take_no_time_have_no_share(store: Store, write: Write) -> None:
    """Database time of 0 ns is divided among nobody."""
    write("shop", [(START_NS, 0, False)], **sql("SELECT 1"))

    (query,) = rank_slow_queries(store, HOUR)

    assert (query.total_ns, query.share_of_total) == (0, 0)


def test_a_series_has_every_step(store: Store, write: Write) -> None:
    """Each statement has a point for every step, most total time first."""
    write("shop", [(START_NS + 31 * MINUTE_NS, 10, False)] * 2, **sql("SELECT 1 FROM a"))
    write("bank", [(START_NS + 59 * MINUTE_NS, 500, False)], **sql("SELECT 1 FROM b"))

    bank, shop = statement_series(store, HOUR, 20 * MINUTE_NS)
    (alone,) = statement_series(store, HOUR, 20 * MINUTE_NS, "shop")

    assert (bank.service, bank.total_ns) == ("bank", 500_000_000)
    assert [(point.start_ns, point.count, point.total_ns) for point in shop.points] == [
        (START_NS, 0, 0),
        (START_NS + 20 * MINUTE_NS, 2, 20_000_000),
        (START_NS + 40 * MINUTE_NS, 0, 0),
    ]
    assert alone == shop
