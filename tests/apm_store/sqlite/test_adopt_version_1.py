"""What the first release stored is found by this one, whenever the takeover is broken off."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from builders import SECOND, make_batch, make_span

from apm_store.api import SchemaError
from apm_store.open import open_store
from apm_store.query import SpanAggregate, TimeRange, TraceQuery
from apm_store.sqlite import adopt_version_1 as adoption
from apm_store.sqlite.body_log import pack

EVER = TimeRange(0, 2**63)
BODIES = 200
VERSION_1 = """
CREATE TABLE body (
    id INTEGER PRIMARY KEY, signal TEXT NOT NULL, received_ns INTEGER NOT NULL, first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL, item_count INTEGER NOT NULL, codec TEXT NOT NULL, digest BLOB NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX ix_body_digest ON body (digest);
CREATE TABLE span (id INTEGER PRIMARY KEY, trace_id BLOB NOT NULL) STRICT;
PRAGMA application_id = 1399873902;
PRAGMA user_version = 1;
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A data directory of the first release, with a trace of one span in each request; its WAL was not emptied."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    path = tmp_path / "made" / "spanwise.db"
    path.parent.mkdir()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(VERSION_1)
    for number in range(1, BODIES + 1):
        body = make_batch([make_span("GET /", trace=number, start_ns=number * SECOND)]).body
        row = (number, "traces", number, number, number, 1, "zstd", number.to_bytes(16, "big"), pack(body))
        connection.execute("INSERT INTO body VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    for name in ("spanwise.db", "spanwise.db-wal"):
        shutil.copy(path.parent / name, data_dir / name)
    connection.close()
    return data_dir


def _check(data_dir: Path) -> None:
    store = open_store(data_dir)
    total = store.traces.find(TraceQuery(EVER, limit=1)).total
    counted = sum(row.count for row in store.traces.aggregate(SpanAggregate(EVER)))
    health = store.health()
    store.close()
    assert total == counted == health.stored["traces"] == BODIES
    assert health.duplicates["traces"] == 0
    assert not (data_dir / "adopting").exists()
    connection = sqlite3.connect(data_dir / "spanwise-v1.db")
    assert connection.execute("SELECT count(*) FROM body").fetchone()[0] == BODIES
    connection.close()


def test_the_data_of_the_first_release_is_taken_over(old: Path) -> None:
    """Every request is found and counted once; the old database stays beside; a second start changes nothing."""
    _check(old)
    _check(old)


@pytest.mark.parametrize("at", range(24))
def test_a_takeover_that_is_broken_off_is_ended_later(old: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Whichever step is the last before the end, the next start gives everything, and nothing twice."""
    steps = 0

    def counting(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def step(*values: object, **options: object) -> object:
            nonlocal steps
            steps += 1
            if steps == at + 1:
                raise KeyboardInterrupt
            return real(*values, **options)

        patch.setattr(owner, name, step)

    with monkeypatch.context() as patch:
        counting(adoption.BodyLog, "append")
        counting(adoption, "sync_directory")
        for name in ("rename", "rmdir", "mkdir"):
            counting(Path, name)
        try:
            adoption.adopt_version_1(old, segment_bytes=5_000)
            is_broken_off = False
        except KeyboardInterrupt:
            is_broken_off = True

    assert is_broken_off == (at < steps)
    _check(old)


def test_a_reader_says_who_takes_over(old: Path) -> None:
    """A store that is only read does not change the old database, and says what to do."""
    with pytest.raises(SchemaError, match="spanwise up"):
        open_store(old, read_only=True)

    assert (old / "spanwise.db").exists()
