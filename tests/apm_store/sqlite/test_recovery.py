"""A damaged database is set aside and built anew from the logs; nothing is deleted, and it is said."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from builders import make_batch, make_span

from apm_store.api import SchemaError, Store, StoreError
from apm_store.model import Batch
from apm_store.open import open_store
from apm_store.query import SpanAggregate, StoreHealth, TimeRange, TraceQuery
from apm_store.sqlite.migrations import CATALOGUE, SEGMENT
from apm_store.sqlite.segments import SegmentFiles

EVER = TimeRange(0, 2**63)


def _batch(first: int, count: int = 20) -> Batch:
    return make_batch(
        [make_span(f"op {n % 50}", trace=n, span=n, attributes={"n": n}) for n in range(first, first + count)]
    )


def _answers(store: Store) -> tuple[object, ...]:
    store.stats()
    page = store.traces.find(TraceQuery(EVER, limit=10_000))
    rows = store.traces.aggregate(SpanAggregate(EVER))
    return page, rows, store.health().stored, [len(store.traces.get(f"{n:032x}")) for n in range(1, 1_000, 50)]


@pytest.fixture
def filled(tmp_path: Path) -> tuple[Path, tuple[object, ...]]:
    """A closed store, and its answers."""
    store = open_store(tmp_path / "data")
    for first in range(1, 1_000, 20):
        store.traces.write(_batch(first))
    answers = _answers(store)
    store.close()
    return tmp_path / "data", answers


def _damage_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(64))


def _damage_application_id(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(68)
        file.write(b"what")


def _damage_middle(path: Path) -> None:
    with path.open("r+b") as file:
        for page in range(2, path.stat().st_size // 4096, 2):
            file.seek(page * 4096)
            file.write(random.Random(page).randbytes(4096))


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def _truncate_in_page(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 77)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _text(path: Path) -> None:
    path.write_text("notes " * 1_000)


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline_s
        threading.Event().wait(0.02)


DAMAGES = [
    _damage_header,
    _damage_application_id,
    _damage_middle,
    _truncate,
    _truncate_in_page,
    _empty,
    _directory,
    _text,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_catalogue_is_set_aside(
    filled: tuple[Path, tuple[object, ...]], damage: Callable[[Path], None]
) -> None:
    """Within 5 s the store is open and answers as before; the damaged file lies there unchanged; a notice says so."""
    data_dir, answers = filled
    path = data_dir / "spanwise.db"
    damage(path)
    content = None if path.is_dir() else path.read_bytes()
    started_s = time.monotonic()

    store = open_store(data_dir)

    took_s = time.monotonic() - started_s
    found = _answers(store)
    notices = store.health().notices
    store.close()
    [aside] = (one for one in data_dir.glob("spanwise.db.corrupt-*") if not one.name.endswith(("-wal", "-shm")))
    assert found == answers
    assert took_s < 5
    assert [notice.state for notice in notices] == ["critical"]
    assert aside.name in notices[0].text
    assert content is None or aside.read_bytes() == content


@pytest.mark.parametrize("damage", [one for one in DAMAGES if one is not _empty])
def test_a_damaged_index_is_set_aside(filled: tuple[Path, tuple[object, ...]], damage: Callable[[Path], None]) -> None:
    """The same for the index of a segment; the catalogue keeps its counts."""
    data_dir, answers = filled
    path = SegmentFiles(data_dir, 1).index
    damage(path)
    content = None if path.is_dir() else path.read_bytes()

    store = open_store(data_dir)

    found = _answers(store)
    notices = store.health().notices
    store.close()
    [aside] = (one for one in path.parent.glob("index.db.corrupt-*") if not one.name.endswith(("-wal", "-shm")))
    assert found == answers
    assert [notice.state for notice in notices] == ["warn"]
    assert content is None or aside.read_bytes() == content


def test_an_empty_index_is_filled_again(filled: tuple[Path, tuple[object, ...]]) -> None:
    """An index without content, as a start that was killed leaves it, needs no notice."""
    data_dir, answers = filled
    _empty(SegmentFiles(data_dir, 1).index)

    store = open_store(data_dir)

    found = _answers(store)
    store.close()
    assert found == answers


@pytest.mark.parametrize("name", ["spanwise.db", "segments/000001/index.db"])
def test_a_random_wal_does_no_harm(filled: tuple[Path, tuple[object, ...]], name: str) -> None:
    """A WAL of random bytes beside a database changes no answer."""
    data_dir, answers = filled
    (data_dir / f"{name}-wal").write_bytes(os.urandom(200_000))

    store = open_store(data_dir)

    found = _answers(store)
    store.close()
    assert found == answers


@pytest.mark.parametrize("suffixes", [("-wal",), ("-shm",), ("-wal", "-shm")])
def test_a_wal_that_somebody_removed_costs_nothing(
    filled: tuple[Path, tuple[object, ...]], suffixes: Sequence[str]
) -> None:
    """Killed, and its write-ahead logs tidied away before the next start: the log has everything."""
    data_dir, _ = filled
    store = open_store(data_dir)
    store.traces.write(_batch(2_000))
    answers = _answers(store)
    copy = data_dir.with_name("copy")
    subprocess.run(["cp", "-a", data_dir, copy], check=True)
    store.close()
    removed = [path for suffix in suffixes for path in copy.rglob(f"*.db{suffix}")]
    for path in removed:
        path.unlink()

    with closing(open_store(copy)) as again:
        found = _answers(again)

    assert removed
    assert found == answers


def test_a_lock_of_somebody_else_delays_what_is_found_alone(filled: tuple[Path, tuple[object, ...]]) -> None:
    """While another program holds the catalogue's lock, requests are acknowledged; after that they are found."""
    data_dir, _ = filled
    with closing(open_store(data_dir)) as store, closing(sqlite3.connect(data_dir / "spanwise.db")) as other:
        store.traces.write(_batch(2_900))
        store.stats()
        other.execute("BEGIN IMMEDIATE")
        started_s = time.monotonic()
        for number in range(5):
            store.traces.write(_batch(3_000 + number * 20))
        taken_s = time.monotonic() - started_s
        other.execute("ROLLBACK")

        found = [len(store.traces.get(f"{3_000 + number * 20:032x}")) for number in range(5)]

    assert taken_s < 5
    assert all(found)


def test_a_newer_catalogue_is_not_set_aside(filled: tuple[Path, tuple[object, ...]]) -> None:
    """What a newer version wrote is refused and left alone, also beside logs."""
    data_dir, _ = filled
    connection = sqlite3.connect(data_dir / "spanwise.db")
    connection.execute("PRAGMA user_version = 999")
    connection.close()

    with pytest.raises(SchemaError, match="newer Spanwise"):
        open_store(data_dir)

    assert not list(data_dir.glob("*corrupt*"))


@pytest.mark.parametrize("name", ["spanwise.db", "segments/000001/index.db"])
@pytest.mark.parametrize("damage", [Path.unlink, _damage_middle])
def test_damage_while_running_is_repaired(
    filled: tuple[Path, tuple[object, ...]], monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None], name: str
) -> None:
    """A database that is removed or damaged under a running writer is built anew, and nothing acknowledged is lost."""
    monkeypatch.setattr("apm_store.sqlite.indexer._RETRY_S", 0.02)
    monkeypatch.setattr("apm_store.sqlite.retention.CHECK_S", 0.05)
    data_dir, _ = filled
    store = open_store(data_dir)
    damage(data_dir / name)

    for first in range(10_001, 10_401, 20):
        store.traces.write(_batch(first))
    _wait_until((data_dir / name).exists)
    store.stats()
    health = store.health()
    store.close()

    store = open_store(data_dir)
    found = [bool(store.traces.get(f"{n:032x}")) for n in (1, 999, 10_001, 10_400)]
    total = store.traces.find(TraceQuery(EVER, limit=1)).total
    stored = store.health().stored["traces"]
    store.close()
    assert found == [True] * 4
    assert total == stored == 1_400
    assert health.accepted["traces"] == 1_400


def test_a_damaged_log_costs_only_what_is_damaged(filled: tuple[Path, tuple[object, ...]]) -> None:
    """What cannot be read in the middle of a log is skipped and said; the file keeps its length."""
    data_dir, _ = filled
    files = SegmentFiles(data_dir, 1)
    size = files.log.stat().st_size
    with files.log.open("r+b") as log:
        log.seek(size // 2)
        log.write(b"\0" * 100)
    (data_dir / "spanwise.db").unlink()
    files.index.unlink()

    store = open_store(data_dir)

    total = store.traces.find(TraceQuery(EVER, limit=1)).total
    notices = [notice.text for notice in store.health().notices]
    store.close()
    assert total in (960, 980)
    assert any("are damaged and were left out" in text for text in notices)
    assert files.log.stat().st_size == size


@pytest.mark.parametrize("how", ["unlink", "rename", "replace", "rmtree"])
def test_nothing_is_acknowledged_into_a_removed_log(filled: tuple[Path, tuple[object, ...]], how: str) -> None:
    """Once its log is gone, the store refuses and says why."""
    data_dir, _ = filled
    store = open_store(data_dir)
    store.traces.write(_batch(5_001))
    log = SegmentFiles(data_dir, 1).log
    if how == "unlink":
        log.unlink()
    elif how == "rename":
        log.rename(log.with_name("elsewhere"))
    elif how == "replace":
        shutil.copy(log, log.with_name("copy"))
        log.with_name("copy").replace(log)
    else:
        shutil.rmtree(data_dir)

    with pytest.raises(StoreError, match="removed or replaced"):
        store.traces.write(_batch(6_001))

    store.close()


def test_a_log_that_lost_its_end_is_not_written_over(filled: tuple[Path, tuple[object, ...]]) -> None:
    """When the catalogue knows of more than the log holds, another segment is begun, and new data is counted."""
    data_dir, _ = filled
    log = SegmentFiles(data_dir, 1).log
    os.truncate(log, log.stat().st_size // 2)

    store = open_store(data_dir)
    store.traces.write(_batch(5_001))

    stored = store.traces.get(f"{5_001:032x}")
    counted = _stored(store)
    store.close()
    assert stored
    assert counted == 1_020
    assert SegmentFiles(data_dir, 2).log.exists()


def _stored(store: Store) -> int:
    store.stats()
    health: StoreHealth = store.health()
    return health.stored["traces"]


MIGRATION = """
import os, sqlite3, sys
from pathlib import Path
from apm_store.sqlite import connections
from apm_store.sqlite.migrations import CATALOGUE, SEGMENT
schema = CATALOGUE if sys.argv[2] == "catalogue" else SEGMENT
left = int(sys.argv[3])
def count(sql):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)
real = sqlite3.connect
def connect(*values, **options):
    connection = real(*values, **options)
    connection.set_trace_callback(count)
    return connection
connections.sqlite3.connect = connect
connections.connect_writer(Path(sys.argv[1]), schema).close()
"""


@pytest.mark.parametrize("kind", ["catalogue", "segment"])
def test_a_migration_killed_at_any_statement_is_whole_or_not_at_all(tmp_path: Path, kind: str) -> None:
    """Whichever statement was the last, the next start finds the old or the new schema and makes it the new one."""
    root = Path(__file__).parents[3]
    statement, is_done = 0, False
    versions = set()
    while not is_done:
        path = tmp_path / f"{statement}.db"
        command = [sys.executable, "-c", MIGRATION, str(path), kind, str(statement)]
        done = subprocess.run(command, cwd=root, env={"PYTHONPATH": str(root)}, check=False)
        is_done = done.returncode == 0
        if path.exists():
            connection = sqlite3.connect(path)
            versions.add(
                (
                    connection.execute("PRAGMA user_version").fetchone()[0],
                    connection.execute(
                        "SELECT count(*) FROM sqlite_master WHERE name IN ('applied', 'state')"
                    ).fetchone()[0],
                )
            )
            connection.close()
        command[-1] = "1000000"
        subprocess.run(command, cwd=root, env={"PYTHONPATH": str(root)}, check=True)
        statement += 3 if not is_done else 0
    steps = {"catalogue": CATALOGUE, "segment": SEGMENT}[kind].steps
    assert versions == {(version, min(version, 1)) for version in range(len(steps) + 1)}


def test_a_long_reader_does_not_let_the_wal_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody reads for long the index waits, and the WAL stays below its bound; then all is found."""
    monkeypatch.setattr("apm_store.sqlite.indexer.MAX_WAL_BYTES", 1_000_000)
    monkeypatch.setattr("apm_store.sqlite.indexer._WAL_RETRY_S", 0.05)
    monkeypatch.setattr("apm_store.sqlite.body_indexer.FLUSH_S", 0.01)
    store = open_store(tmp_path)
    store.traces.write(_batch(1))
    store.stats()
    readers = [sqlite3.connect(path) for path in (tmp_path / "spanwise.db", SegmentFiles(tmp_path, 1).index)]
    for reader in readers:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()

    peak = 0
    for first in range(101, 10_101, 20):
        store.traces.write(_batch(first))
        peak = max(peak, store.health().wal_bytes)
        threading.Event().wait(0.002)
    waiting = store.health().waiting["traces"]
    for reader in readers:
        reader.close()

    stored = _stored(store)
    after = store.health().wal_bytes
    store.close()
    assert waiting > 0
    assert max(peak, after) < 8_000_000
    assert stored == 10_020
