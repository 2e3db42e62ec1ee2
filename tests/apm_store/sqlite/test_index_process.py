"""Under load another process indexes; who asks, removes, closes or kills meanwhile notices nothing but the speed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from builders import SECOND, make_batch, make_span

from apm_store.api import Store
from apm_store.model import Batch, SpanKind
from apm_store.open import open_store
from apm_store.query import EdgeQuery, SpanAggregate, TimeRange, TraceQuery
from apm_store.sqlite import indexer as indexer_module

EVER = TimeRange(0, 2**63)
_LIMIT_S = 30.0


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever waits is handed over, and taken back only when somebody asks."""
    monkeypatch.setattr(indexer_module, "_BEHIND_ITEMS", 1)
    monkeypatch.setattr(indexer_module, "_BEHIND_S", 0.0)
    monkeypatch.setattr(indexer_module, "_CALM_S", 3_600.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store whose index is written by another process."""
    opened = open_store(tmp_path / "data")
    opened.traces.write(_batch(0))
    _wait_until(lambda: bool(_processes()))
    yield opened
    opened.close()


def _batch(number: int, count: int = 5) -> Batch:
    return make_batch(
        make_span("GET /", trace=number + 1, span=number * 100 + i + 1, start_ns=number * SECOND) for i in range(count)
    )


def _processes(parent: int | None = None) -> list[psutil.Process]:
    children = psutil.Process(parent).children()
    return [child for child in children if "apm_store.sqlite.follow_log" in _command(child)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []


def _wait_until(is_so: Callable[[], bool]) -> None:
    started_s = time.monotonic()
    while not is_so():
        assert time.monotonic() - started_s < _LIMIT_S, f"it did not happen within {_LIMIT_S:g} s"
        threading.Event().wait(0.02)


def _spans(store: Store) -> int:
    return sum(row.count for row in store.traces.aggregate(SpanAggregate(EVER)))


def test_the_other_process_indexes_all(store: Store) -> None:
    """What is written while another process indexes is found by the next question, each span once."""
    for number in range(1, 40):
        store.traces.write(_batch(number))
    store.traces.write(_batch(7))

    found = store.traces.find(TraceQuery(EVER, limit=1)).total

    assert (found, _spans(store), store.health().duplicates["traces"]) == (40, 200, 5)
    assert len(_processes()) == 1


def test_segments_are_followed(store: Store) -> None:
    """The other process goes on from one segment to the next."""
    store._writer._segment_bytes = 1  # type: ignore[attr-defined]
    for number in range(1, 6):
        store.traces.write(_batch(number))

    assert _spans(store) == 30
    assert store.health().segments >= 5
    assert len(_processes()) == 1


def test_what_is_done_is_taken_back_on_closing(tmp_path: Path, store: Store) -> None:
    """Closing waits for the other process, which is gone then; another start finds everything indexed."""
    for number in range(1, 10):
        store.traces.write(_batch(number))

    store.close()

    again = open_store(tmp_path / "data", read_only=True)
    assert _processes() == []
    assert (_spans(again), sum(again.health().waiting.values())) == (50, 0)
    again.close()


def test_a_calm_store_is_indexed_by_its_own_process(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """When little arrives for a while, the other process ends, and nothing is lost on the way back."""
    monkeypatch.setattr(indexer_module, "_BEHIND_ITEMS", 1_000_000)
    monkeypatch.setattr(indexer_module, "_CALM_S", 0.2)

    _wait_until(lambda: not _processes())

    store.traces.write(_batch(1))
    assert _spans(store) == 10


def test_the_death_of_the_other_process_costs_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When the other process is killed, this one goes on alone, from what was committed."""
    for number in range(1, 10):
        store.traces.write(_batch(number))
    monkeypatch.setattr(indexer_module, "_BEHIND_ITEMS", 1_000_000)
    for process in _processes():
        process.kill()
    store.traces.write(_batch(10))

    assert _spans(store) == 55
    assert _processes() == []
    assert "written by this process alone" in caplog.text


def test_a_call_is_one_edge_though_the_work_changes_hands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The halves of a call find each other when one was indexed here and one there, both ways."""
    monkeypatch.setattr(indexer_module, "_BEHIND_ITEMS", 1_000_000)
    store = open_store(tmp_path / "data")
    _write_half(store, 1, SpanKind.CLIENT)
    store.stats()
    monkeypatch.setattr(indexer_module, "_BEHIND_ITEMS", 1)
    _write_half(store, 1, SpanKind.SERVER)
    _wait_until(lambda: bool(_processes()))
    _write_half(store, 2, SpanKind.CLIENT)
    store.stats()
    monkeypatch.setattr(indexer_module, "_BEHIND_ITEMS", 1_000_000)
    monkeypatch.setattr(indexer_module, "_CALM_S", 0.2)
    _wait_until(lambda: not _processes())
    _write_half(store, 2, SpanKind.SERVER)

    edges = store.traces.edges(EdgeQuery(EVER))

    store.close()
    assert [(edge.source, edge.target, edge.count) for edge in edges] == [("shop", "stock", 2)]


def test_a_call_is_one_edge_though_the_other_process_dies(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The half that waited in the memory of the process that was killed is read from the log again."""
    _write_half(store, 1, SpanKind.CLIENT)
    store.stats()
    monkeypatch.setattr(indexer_module, "_BEHIND_ITEMS", 1_000_000)
    for process in _processes():
        process.kill()
    _write_half(store, 1, SpanKind.SERVER)

    edges = store.traces.edges(EdgeQuery(EVER))

    assert [(edge.source, edge.target, edge.count) for edge in edges if edge.target == "stock"] == [
        ("shop", "stock", 1)
    ]


def _write_half(store: Store, number: int, kind: SpanKind) -> None:
    if kind is SpanKind.CLIENT:
        span, service = make_span("call", trace=number, span=number * 10, kind=int(kind)), "shop"
    else:
        span, service = make_span("GET /", trace=number, span=99, parent=number * 10, kind=int(kind)), "stock"
    store.traces.write(make_batch([span], service))


def test_raw_data_is_removed_while_another_process_indexes(store: Store) -> None:
    """Who asks for a removal gets it done: the work is taken back for that."""
    for number in range(1, 5):
        store.traces.write(_batch(number))

    entry = store.prune(before_ns=2**62)

    assert entry is not None
    assert entry.spans == 25
    assert _spans(store) == 0 or store.stats().spans == 0


def test_the_other_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    """After a kill -9 nobody is left who writes, and the next start finds all that was acknowledged."""
    script = textwrap.dedent("""
        import sys, threading
        from pathlib import Path
        from apm_store.open import open_store
        from apm_store.sqlite import indexer
        from builders import make_batch, make_span
        indexer._BEHIND_ITEMS, indexer._BEHIND_S = 1, 0.0
        store = open_store(Path(sys.argv[1]))
        number = 0
        while True:
            number += 1
            store.traces.write(make_batch([make_span("GET /", trace=number, span=number)]))
            print(number, flush=True)
            threading.Event().wait(0.001)
    """)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["tests", *sys.path])}
    command = [sys.executable, "-c", script, str(tmp_path / "data")]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    assert writer.stdout is not None
    acknowledged = 0
    while not _processes(writer.pid) or acknowledged < 200:
        acknowledged = int(writer.stdout.readline())
    [other] = _processes(writer.pid)

    writer.send_signal(signal.SIGKILL)
    lines = writer.stdout.read().split()
    writer.stdout.close()
    writer.wait()

    _wait_until(lambda: not psutil.pid_exists(other.pid) or other.status() == psutil.STATUS_ZOMBIE)
    acknowledged = int(lines[-1]) if lines else acknowledged
    store = open_store(tmp_path / "data")
    assert acknowledged <= _spans(store) <= acknowledged + 1
    store.close()
