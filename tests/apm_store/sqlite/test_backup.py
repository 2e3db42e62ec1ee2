"""A backup is a store of its own and holds all that was acknowledged before it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from builders import make_batch, make_span

from apm_store.api import Store, StoreError
from apm_store.model import Batch
from apm_store.open import open_store
from apm_store.query import LogQuery, MetricQuery, SpanAggregate, TimeRange, TraceQuery
from apm_store.sqlite import backup as backup_module
from apm_store.sqlite.backup import back_up
from apm_store.sqlite.writer import Writer

EVER = TimeRange(0, 2**63)
ROOT = Path(__file__).parents[3]


def _batch(first: int, count: int = 20) -> Batch:
    return make_batch([make_span("GET /", trace=n, span=n, attributes={"n": n}) for n in range(first, first + count)])


def _answers(store: Store) -> tuple[object, ...]:
    store.stats()
    page = store.traces.find(TraceQuery(EVER, limit=1_000))
    rows = store.traces.aggregate(SpanAggregate(EVER))
    return (
        page,
        rows,
        store.health().stored,
        store.logs.find(LogQuery()),
        store.metrics.find(MetricQuery("memory", EVER)),
    )


def test_a_backup_gives_the_same_answers(
    tmp_path: Path, make_logs: Callable[..., Batch], make_gauge: Callable[..., Batch]
) -> None:
    """Of a store with all signals that is open for writing; its files are for their owner alone."""
    store = open_store(tmp_path / "data")
    store.traces.write(_batch(1))
    store.logs.write(make_logs([]))
    store.metrics.write(make_gauge([(1, 1.0, "a")]))
    before = os.umask(0)

    store.backup(tmp_path / "copy")

    os.umask(before)
    answers = _answers(store)
    store.close()
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "copy").rglob("*") if path.is_file()}
    copy = open_store(tmp_path / "copy")
    found = _answers(copy)
    copy.close()
    assert found == answers
    assert modes == {0o600}
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("target", ["taken", "data"])
def test_a_target_that_exists_is_refused(tmp_path: Path, target: str) -> None:
    """Nothing is written over."""
    open_store(tmp_path / "data").close()
    (tmp_path / "taken").mkdir()

    with pytest.raises(StoreError, match="exists already"):
        back_up(tmp_path / "data", tmp_path / target)


def test_nothing_to_back_up_is_said(tmp_path: Path) -> None:
    """Without a store there is an error, and no directory is left."""
    with pytest.raises(StoreError, match="no database"):
        back_up(tmp_path / "data", tmp_path / "copy")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("moment", ["_copy_index", "_copy_database", "_listed", "_copy_log"])
def test_segments_that_come_and_go_meanwhile_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Whatever is written or pruned during the copy, the copy is whole."""
    writer = Writer(tmp_path / "data", segment_bytes=2_000)
    for number in range(1, 401, 20):
        writer.write(_batch(number))
    writer.indexer.catch_up(10)
    real = getattr(backup_module, moment)
    is_done = False

    def meddle(*values: object) -> object:
        nonlocal is_done
        if not is_done:
            is_done = True
            for number in range(1_001, 1_101, 20):
                writer.write(_batch(number))
            writer.prune(to_bytes=1_000_000)
        return real(*values)

    monkeypatch.setattr(backup_module, moment, meddle)
    back_up(tmp_path / "data", tmp_path / "copy")
    writer.close()

    copy = open_store(tmp_path / "copy")
    copy.stats()
    health = copy.health()
    total = copy.traces.find(TraceQuery(EVER, limit=1)).total
    spans = copy.stats().spans
    newest = copy.traces.get(f"{400:032x}")
    copy.close()
    assert total == spans
    assert newest or health.prunes
    assert health.notices == ()
    assert is_done


SENDER = """
import sys
from pathlib import Path
from apm_store.open import open_store
from builders import make_batch, make_span
store = open_store(Path(sys.argv[1]))
number = 1
while True:
    store.traces.write(make_batch([make_span("work", trace=n, span=n) for n in range(number, number + 20)]))
    number += 20
    print(number, flush=True)
"""


def test_a_backup_from_another_process_under_load(tmp_path: Path) -> None:
    """Everything acknowledged before the call is in the copy, whose databases are sound."""
    command = [sys.executable, "-c", SENDER, str(tmp_path / "data")]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    acknowledged = 0
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout is not None
        for line in sender.stdout:
            acknowledged = int(line) - 1
            if acknowledged >= 2_000:
                break
        rest = threading.Thread(target=lambda: [None for _ in sender.stdout or ()])
        rest.start()
        back_up(tmp_path / "data", tmp_path / "copy")
        sender.kill()
        rest.join()

    copy = open_store(tmp_path / "copy")
    total = copy.traces.find(TraceQuery(EVER, limit=1)).total
    found = [bool(copy.traces.get(f"{n:032x}")) for n in (1, acknowledged)]
    copy.close()
    verdicts = []
    for path in (tmp_path / "copy").rglob("*.db"):
        connection = sqlite3.connect(path)
        verdicts.append(connection.execute("PRAGMA integrity_check").fetchone()[0])
        connection.close()
    assert total >= acknowledged
    assert found == [True, True]
    assert set(verdicts) == {"ok"}
