"""Calling and called spans meet in any order, and a half that stays alone is a call from or to a virtual node."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from builders import MS, SECOND
from hypothesis import given
from hypothesis import strategies as st

from apm_store.sketch import Sketch, bucket_of
from apm_store.sqlite import edges
from apm_store.sqlite.block import FAILED, NO_PARENT, OK, BlockSpan
from apm_store.sqlite.connections import connect_writer
from apm_store.sqlite.dictionaries import Dictionaries
from apm_store.sqlite.edges import EdgeCell, EdgeKey, EdgePairing, EdgeRollup
from apm_store.sqlite.migrations import CATALOGUE
from apm_store.sqlite.peers import Peer

SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5
MINUTE_S = 1_000_020
START_NS = MINUTE_S * SECOND
PAY = Peer("pay.internal:80", "http")
Fed = tuple[BlockSpan, str, Peer | None]


def span(
    kind: int, span_id: int, parent: int = 0, *, trace: int = 1, ms: int = 10, outcome: int = OK, start: int = 0
) -> BlockSpan:
    """One half of a call; a parent of 0 makes it a root."""
    return BlockSpan(
        trace.to_bytes(16, "big"),
        span_id.to_bytes(8, "big"),
        parent.to_bytes(8, "big") if parent else NO_PARENT,
        START_NS + start,
        ms * MS,
        *(1, 1, kind, outcome, 0, 0, kind in (SERVER, CONSUMER), 1),
    )


def client(span_id: int = 7, parent: int = 1, service: str = "shop", peer: Peer | None = PAY, **more: int) -> Fed:
    """A call that a service makes."""
    return span(CLIENT, span_id, parent, **more), service, peer


def server(span_id: int = 8, parent: int = 7, service: str = "pay", **more: int) -> Fed:
    """A call that a service gets."""
    return span(SERVER, span_id, parent, **more), service, None


def count(spans: Iterable[Fed], *, expire: bool = False) -> dict[tuple[str, str], tuple[int, int]]:
    """Calls and failures by (source, target); a virtual node stands in brackets."""
    pairing = EdgePairing()
    for one in spans:
        pairing.add(*one)
    if expire:
        pairing.expire(0)
        pairing.expire(10 * SECOND)
    return edges_in(pairing.take())


def edges_in(counted: dict[EdgeKey, EdgeCell]) -> dict[tuple[str, str], tuple[int, int]]:
    """The edges that are left after all corrections."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for key, cell in counted.items():
        source = f"({key.source})" if key.is_virtual_source else key.source
        target = f"({key.target})" if key.is_virtual_target else key.target
        calls, failed = found.get((source, target), (0, 0))
        found[source, target] = (calls + cell.count, failed + cell.failed_count)
    return {edge: counts for edge, counts in found.items() if counts != (0, 0)}


@pytest.mark.parametrize("spans", [[client(), server()], [server(), client()]])
def test_a_pair_is_one_call_whichever_half_comes_first(spans: list[Fed]) -> None:
    """It is counted at once, in the caller's minute, with the durations that both sides saw."""
    pairing = EdgePairing()
    for one in spans:
        pairing.add(*one)

    counted = pairing.take()

    assert counted == {
        EdgeKey(MINUTE_S, "shop", "pay", "http", False, False): EdgeCell(
            1, 0, {bucket_of(10 * MS): 1}, {bucket_of(10 * MS): 1}
        )
    }
    assert pairing.take() == {}


def test_a_call_counts_in_the_minute_of_its_caller() -> None:
    """A server that starts after the full minute belongs to the call that began before it."""
    pairing = EdgePairing()
    pairing.add(*client(start=59 * SECOND))
    pairing.add(*server(start=61 * SECOND))

    assert [key.start_s for key in pairing.take()] == [MINUTE_S]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_each_callee_of_one_caller_is_a_call(order: Sequence[int]) -> None:
    """A message that two services consume is two calls of its producer, in any order of arrival."""
    spans: list[Fed] = [
        (span(PRODUCER, 7, 1), "shop", Peer("orders", "messaging")),
        (span(CONSUMER, 8, 7), "mail", Peer("orders", "messaging")),
        (span(CONSUMER, 9, 7, outcome=FAILED), "stock", Peer("orders", "messaging")),
    ]

    assert count(spans[index] for index in order) == {("shop", "mail"): (1, 0), ("shop", "stock"): (1, 1)}


def test_a_call_failed_when_either_side_says_so() -> None:
    """The caller's time-out counts although the callee was content."""
    assert count([client(outcome=FAILED), server()]) == {("shop", "pay"): (1, 1)}
    assert count([client(), server(outcome=FAILED)]) == {("shop", "pay"): (1, 1)}


def test_a_service_that_calls_itself_is_an_edge() -> None:
    """Source and target are the same node."""
    assert count([client(), server(service="shop")]) == {("shop", "shop"): (1, 0)}


def test_a_root_is_called_by_the_user_at_once() -> None:
    """A server without a parent waits for nobody; a consumer without one takes from its topic."""
    consumer = (span(CONSUMER, 9), "mail", Peer("orders", "messaging"))

    assert count([server(parent=0), consumer]) == {("(user)", "pay"): (1, 0), ("(orders)", "mail"): (1, 0)}


def test_a_database_is_a_virtual_node_at_once() -> None:
    """Databases send no spans, so nobody waits for their half."""
    assert count([client(peer=Peer("db:5432", "database"))]) == {("shop", "(db:5432)"): (1, 0)}


def test_a_half_alone_waits_and_then_counts_with_a_virtual_node() -> None:
    """Before ten seconds nothing is counted; after them the caller names its peer, and the callee has the user."""
    spans = [client(), client(span_id=70, peer=None), server(parent=99, outcome=FAILED)]

    assert count(spans) == {}
    assert count(spans, expire=True) == {
        ("shop", "(pay.internal:80)"): (1, 0),
        ("shop", "(unknown)"): (1, 0),
        ("(user)", "pay"): (1, 1),
    }


def test_waiting_is_measured_in_time_of_receipt() -> None:
    """A half counts as alone ten seconds after the first call of `expire` that saw it."""
    pairing = EdgePairing()
    pairing.expire(100 * SECOND)
    pairing.add(*client())
    pairing.expire(101 * SECOND)
    pairing.expire(111 * SECOND - 1)

    assert pairing.take() == {}
    assert pairing.due_ns() == 111 * SECOND

    pairing.expire(111 * SECOND)

    assert edges_in(pairing.take()) == {("shop", "(pay.internal:80)"): (1, 0)}
    assert pairing.due_ns() is None


@pytest.mark.parametrize("spans", [[client(), server()], [server(outcome=FAILED), client()]])
def test_a_late_partner_corrects_what_was_counted(spans: list[Fed]) -> None:
    """The call moves from the virtual node to the real one, in every number."""
    pairing = EdgePairing()
    pairing.add(*spans[0])
    pairing.expire(0)
    pairing.expire(10 * SECOND)
    pairing.add(*spans[1])

    counted = pairing.take()
    virtual = next(cell for key, cell in counted.items() if key.is_virtual_source or key.is_virtual_target)

    assert set(edges_in(counted)) == {("shop", "pay")}
    assert (virtual.count, virtual.failed_count) == (0, 0)
    assert set(virtual.client.values()) | set(virtual.server.values()) == {0}


def test_beyond_the_limit_the_oldest_halves_count_as_alone() -> None:
    """However many halves wait, a bounded number is remembered; what is forgotten is not corrected any more."""
    pairing = EdgePairing(max_halves=10)
    for number in range(1, 101):
        pairing.add(*client(span_id=number, parent=200))
    early = edges_in(pairing.take())
    pairing.add(*server(parent=1))
    pairing.add(*server(parent=100))

    assert early == {("shop", "(pay.internal:80)"): (90, 0)}
    assert edges_in(pairing.take())["shop", "pay"] == (1, 0)


def test_calls_that_wait_no_more_are_soon_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the latest of them are corrected when a half comes late."""
    monkeypatch.setattr(edges, "MAX_SETTLED", 10)
    pairing = EdgePairing()
    for number in range(1, 101):
        pairing.add(*client(span_id=number, parent=200))
    pairing.expire(0)
    pairing.expire(11 * SECOND)
    pairing.take()
    pairing.add(*server(parent=90))
    pairing.add(*server(parent=91))

    assert edges_in(pairing.take())["shop", "pay"] == (1, 0)


def test_many_callees_of_one_missing_caller_are_bounded_too() -> None:
    """Their number counts, not that of their callers."""
    pairing = EdgePairing(max_halves=10)
    for number in range(1, 101):
        pairing.add(*server(span_id=number, parent=7))

    calls, _ = edges_in(pairing.take())["(user)", "pay"]

    assert calls >= 90


def test_two_callers_with_one_id_do_not_harm() -> None:
    """A producer and a client of the same span id are two spans; the second one counts alone."""
    pairing = EdgePairing(max_halves=2)
    pairing.add(*client())
    pairing.add(span(PRODUCER, 7, 1), "shop", Peer("orders", "messaging"))
    for number in range(20, 30):
        pairing.add(*client(span_id=number))

    assert edges_in(pairing.take())["shop", "(orders)"] == (1, 0)


def test_halves_that_waited_at_a_restart_are_taken_up_again() -> None:
    """The spans of the last 20 s are fed again and what they give is dropped: nothing counts twice, nothing is lost."""
    before, after = EdgePairing(), EdgePairing()
    recent = [server(8, 7), client(7), client(17)]
    for one in recent:
        before.add(*one)
    before.expire(5 * SECOND)
    counted = edges_in(before.take())
    for one in recent:
        after.add(*one)
    after.expire(5 * SECOND)
    after.take()
    after.add(*server(18, 17))

    assert counted == {("shop", "pay"): (1, 0)}
    assert edges_in(after.take()) == {("shop", "pay"): (1, 0)}


@st.composite
def calls(draw: st.DrawFn) -> list[Fed]:
    """Spans of some calls: halves that miss, callers with many callees, failures, roots."""
    spans: list[Fed] = []
    for number in range(1, draw(st.integers(1, 6)) + 1):
        has_caller = draw(st.booleans())
        outcome = st.sampled_from([OK, FAILED])
        start = st.sampled_from([0, 59, 61]).map(lambda seconds: seconds * SECOND)
        if has_caller:
            peer = draw(st.sampled_from([PAY, None, Peer("db", "database")]))
            source = draw(st.sampled_from(["shop", "pay"]))
            spans.append(client(number * 100, 1, source, peer, outcome=draw(outcome), start=draw(start)))
        for callee in range(draw(st.integers(0, 3))):
            kind = draw(st.sampled_from([SERVER, CONSUMER]))
            parent = draw(st.sampled_from([number * 100, number * 100, 0]))
            half = span(kind, number * 100 + callee + 1, parent, outcome=draw(outcome), start=draw(start))
            spans.append((half, draw(st.sampled_from(["pay", "mail"])), draw(st.sampled_from([None, PAY]))))
    return spans


@given(spans=calls(), seed=st.integers(0, 2**32))
def test_any_order_gives_the_same_edges(spans: list[Fed], seed: int) -> None:
    """Counts, failures and durations do not depend on who comes first."""
    shuffled = Random(seed).sample(spans, len(spans))

    assert settled(spans) == settled(shuffled)


@given(spans=calls(), seed=st.integers(0, 2**32), cut=st.integers(0, 30))
def test_late_spans_give_the_same_edges_in_the_end(spans: list[Fed], seed: int, cut: int) -> None:
    """Whatever expires in between, the corrections lead to what there would be had all been in time."""
    shuffled = Random(seed).sample(spans, len(spans))

    assert settled(spans) == settled(shuffled, cut)


def settled(spans: list[Fed], cut: int = 0) -> dict[EdgeKey, EdgeCell]:
    """What is counted when the first `cut` spans expire before the others come, and then these."""
    pairing = EdgePairing()
    for part, time_ns in ((spans[:cut], 0), (spans[cut:], 20 * SECOND)):
        for one in part:
            pairing.add(*one)
        pairing.expire(time_ns)
        pairing.expire(time_ns + 10 * SECOND)
    return {
        key: EdgeCell(cell.count, cell.failed_count, _left(cell.client), _left(cell.server))
        for key, cell in pairing.take().items()
        if cell.count
    }


def _left(buckets: dict[int, int]) -> dict[int, int]:
    return {bucket: n for bucket, n in buckets.items() if n}


def edge(start_s: int, **sides: dict[int, int]) -> dict[EdgeKey, EdgeCell]:
    """One call from shop to pay, or its correction when its numbers are negative."""
    total = sum(sides["client"].values())
    return {EdgeKey(start_s, "shop", "pay", "http", False, True): EdgeCell(total, 0, sides["client"], {})}


@pytest.mark.parametrize("is_cached", [True, False])
def test_edges_add_up_by_minute_and_hour(tmp_path: Path, is_cached: bool) -> None:
    """What is flushed grows the rows that are there, whether the writer remembers them or not."""
    with closing(connect_writer(tmp_path / "spanwise.db", CATALOGUE)) as connection:
        connection.execute("BEGIN")
        rollup, names = EdgeRollup(), Dictionaries(connection)
        for start_s, buckets in ((3600, {5: 1}), (3660, {5: 1, 6: 2}), (3600, {7: 1}), (3600, {5: -1})):
            rollup.flush(connection, names, edge(start_s, client=buckets))
            if not is_cached:
                rollup.clear()
        found = connection.execute("SELECT step_s, start_s, count, client_sketch FROM edge_rollup").fetchall()

    assert {row[:3]: Sketch.from_bytes(row[3]).buckets for row in found} == {
        (60, 3600, 1): {7: 1},
        (60, 3660, 3): {5: 1, 6: 2},
        (3600, 3600, 4): {5: 1, 6: 2, 7: 1},
    }


def test_a_correction_of_what_is_not_there_takes_nothing_below_zero(tmp_path: Path) -> None:
    """After a restart the first count may be missing; the row then says none."""
    with closing(connect_writer(tmp_path / "spanwise.db", CATALOGUE)) as connection:
        connection.execute("BEGIN")
        EdgeRollup().flush(connection, Dictionaries(connection), edge(0, client={5: -1}))
        found = connection.execute("SELECT count, client_sketch FROM edge_rollup").fetchall()

    assert set(found) == {(0, b"")}
