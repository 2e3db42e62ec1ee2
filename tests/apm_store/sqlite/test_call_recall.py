"""A restart leaves no trace in the service map: the calls that waited are known again."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from builders import SECOND, make_batch, make_span

from apm_store.api import Store
from apm_store.model import Batch, SpanKind
from apm_store.open import open_store
from apm_store.query import EdgeQuery, TimeRange
from apm_store.sqlite import body_indexer, call_recall

EVER = TimeRange(0, 2**63)
START_S = 1_000_000
DELAYS_S = (0.0, 1.0, 4.0, 9.0, 12.0, 25.0)
Story = list[tuple[float, Batch]]
"""Requests, each with when it is received, in seconds."""


class Clock:
    """The time of receipt, which the test chooses."""

    def __init__(self) -> None:
        self.now_s = float(START_S)

    def __call__(self) -> int:
        return int(self.now_s * SECOND)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that only the test moves; the index is committed when somebody asks."""
    clock = Clock()
    monkeypatch.setattr(time, "time_ns", clock)
    monkeypatch.setattr(body_indexer, "FLUSH_S", 3_600.0)
    return clock


def _half(number: int, kind: SpanKind, attributes: dict[str, Any] | None = None) -> Batch:
    """One end of a call: `shop` calls, `pay` is called."""
    start_ns, failed = (START_S + number) * SECOND, number % 5 == 0
    if kind is SpanKind.CLIENT:
        more = attributes or {"server.address": f"host-{number % 3}", "http.request.method": "GET"}
        span = make_span("call", trace=number, span=7, parent=1, kind=3, start_ns=start_ns, attributes=more)
        return make_batch([span], "shop")
    span = make_span("GET /", trace=number, span=8, parent=7, kind=2, start_ns=start_ns + 5, failed=failed)
    return make_batch([span], "pay")


def _story(seed: int) -> Story:
    """Calls of which one half may come late or never, some sent again, with databases and roots in between."""
    dice = Random(seed)
    story: Story = []
    for number in range(1, 61):
        at_s = START_S + dice.uniform(0, 90)
        halves = [_half(number, SpanKind.CLIENT), _half(number, SpanKind.SERVER)]
        dice.shuffle(halves)
        story.append((at_s, halves[0]))
        if dice.random() < 0.7:
            story.append((at_s + dice.choice(DELAYS_S), halves[1]))
        if dice.random() < 0.3:
            story.append((at_s + dice.choice(DELAYS_S), dice.choice(halves)))  # sent again
        if dice.random() < 0.2:
            story.append((at_s, _half(number + 100, SpanKind.CLIENT, {"db.system.name": "redis"})))
            story.append((at_s, make_batch([make_span("GET /", trace=number + 200)], "shop")))
    return sorted(story, key=lambda one: one[0])


def _tell(store: Store, clock: Clock, story: Story) -> None:
    for at_s, batch in story:
        clock.now_s = at_s
        store.traces.write(batch)


def _edges(store: Store, clock: Clock) -> dict[tuple[Any, ...], Any]:
    """All edges with their durations, when nothing waits any more."""
    clock.now_s += 30
    store.traces.write(make_batch([make_span("quiet", trace=999, kind=1)]))
    return {
        (edge.source, edge.target, edge.kind, edge.is_virtual_source, edge.is_virtual_target): (
            edge.count,
            edge.failed_count,
            edge.client_durations.buckets,
            edge.server_durations.buckets,
        )
        for edge in store.traces.edges(EdgeQuery(EVER))
    }


def _closed(data_dir: Path, store: Store) -> Path:
    """Close the store."""
    store.close()
    return data_dir


def _killed(data_dir: Path, store: Store) -> Path:
    """Leave the store as a kill -9 would; what was written since the last question is in the log alone."""
    target = data_dir.with_name(data_dir.name + "+")
    subprocess.run(["cp", "-a", data_dir, target], check=True)
    store.close()
    return target


def _without_index(data_dir: Path, store: Store) -> Path:
    """As a kill, and the index of the last segment is lost too."""
    target = _killed(data_dir, store)
    for path in max((target / "segments").iterdir()).glob("index.db*"):
        path.unlink()
    return target


def _without_catalogue(data_dir: Path, store: Store) -> Path:
    """As a kill, and the catalogue is lost too."""
    target = _killed(data_dir, store)
    for path in target.glob("spanwise.db*"):
        path.unlink()
    return target


@pytest.fixture
def expected(tmp_path: Path, clock: Clock) -> Callable[[Story], Any]:
    """What the edges are without any restart."""

    def tell(story: Story) -> Any:
        with closing(open_store(tmp_path / "whole")) as store:
            _tell(store, clock, story)
            found = _edges(store, clock)
        clock.now_s = START_S
        return found

    return tell


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "restart", [_closed, _killed, _without_index, _without_catalogue], ids=lambda one: one.__name__.strip("_")
)
def test_restarts_change_no_edge(
    restart: Callable[[Path, Store], Path], seed: int, tmp_path: Path, clock: Clock, expected: Callable[[Story], Any]
) -> None:
    """Wherever the store stops, counts, failures and durations of every edge are those of a store that never does."""
    story, dice, data_dir = _story(seed), Random(seed), tmp_path / "data"
    whole = expected(story)
    cuts = [0, *sorted(dice.sample(range(len(story)), 4)), len(story)]

    for first, last in pairwise(cuts):
        store = open_store(data_dir)
        middle = (first + last) // 2
        _tell(store, clock, story[first:middle])
        store.stats()
        _tell(store, clock, story[middle:last])
        if last < len(story):
            data_dir = restart(data_dir, store)
    found = _edges(store, clock)
    store.close()

    assert found == whole
    assert sum(count for count, *_ in found.values()) > 60


def test_halves_are_known_from_the_segment_before(
    tmp_path: Path, clock: Clock, expected: Callable[[Story], Any]
) -> None:
    """A half that waits in a segment that has ended is found there."""
    story = [(START_S + number, _half(number, SpanKind.CLIENT)) for number in (1, 2)]
    story += [(START_S + 3, _half(number, SpanKind.SERVER)) for number in (1, 2)]
    whole = expected(story)
    store = open_store(tmp_path / "data")
    store._writer._segment_bytes = 1  # type: ignore[attr-defined]
    _tell(store, clock, story[:2])
    store.stats()

    with closing(open_store(_killed(tmp_path / "data", store))) as again:
        _tell(again, clock, story[2:])
        found = _edges(again, clock)

    assert found == whole
    assert set(found) == {("shop", "pay", "http", False, False)}


def test_what_settled_while_nothing_came_is_not_counted_again(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lone half that was counted while the store was at rest stays counted once."""
    monkeypatch.setattr("apm_store.sqlite.indexer.SETTLE_S", -3_600.0)  # at rest at once
    store = open_store(tmp_path / "data")
    _tell(store, clock, [(START_S, _half(1, SpanKind.CLIENT))])
    store.stats()
    clock.now_s += 20
    store.close()

    with closing(open_store(tmp_path / "data")) as again:
        found = _edges(again, clock)

    assert [(key[:2], counts[0]) for key, counts in found.items()] == [(("shop", "host-1"), 1)]


@pytest.fixture
def damaged(tmp_path: Path, clock: Clock) -> Iterator[Path]:
    """A store that closed while a call waited, whose request is damaged in the log since."""
    store = open_store(tmp_path / "data")
    _tell(store, clock, [(START_S, _half(1, SpanKind.CLIENT)), (START_S, _half(2, SpanKind.CLIENT))])
    store.close()
    log = next((tmp_path / "data" / "segments").iterdir()) / "bodies.log"
    content = bytearray(log.read_bytes())
    content[60] ^= 0xFF
    log.write_bytes(content)
    yield tmp_path / "data"
    shutil.rmtree(tmp_path / "data")


def test_a_damaged_request_costs_its_own_calls_alone(damaged: Path, clock: Clock) -> None:
    """The store opens, and the other call finds its partner."""
    with closing(open_store(damaged)) as store:
        _tell(store, clock, [(START_S + 1, _half(2, SpanKind.SERVER))])
        found = _edges(store, clock)

    assert found["shop", "pay", "http", False, False][0] == 1


def test_only_so_many_spans_are_read_again(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are; an older half counts neither alone nor with its partner."""
    monkeypatch.setattr(call_recall, "MAX_SPANS", 2)
    story = [(START_S, _half(number, SpanKind.CLIENT)) for number in (1, 2, 3)]
    store = open_store(tmp_path / "data")
    _tell(store, clock, story)
    store.close()

    with closing(open_store(tmp_path / "data")) as again:
        found = _edges(again, clock)

    assert sorted((key[1], counts[0]) for key, counts in found.items()) == [("host-0", 1), ("host-2", 1)]
