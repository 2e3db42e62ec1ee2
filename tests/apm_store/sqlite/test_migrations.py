"""A database that is not ours, or newer than we are, is refused and left as it was."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from builders import SECOND, make_batch, make_span

from apm_store.api import SchemaError, StoreError
from apm_store.open import open_store
from apm_store.sketch import Sketch
from apm_store.sqlite.migrations import CATALOGUE, Schema


def _execute(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for sql in statements:
        connection.execute(sql)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_database_is_refused(tmp_path: Path, read_only: bool) -> None:
    """The error names both versions and what to do."""
    open_store(tmp_path).close()
    _execute(tmp_path / "spanwise.db", "PRAGMA user_version = 999")

    with pytest.raises(SchemaError, match=rf"version 999.* up to {len(CATALOGUE.steps)}.*newer Spanwise"):
        open_store(tmp_path, read_only=read_only)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_foreign_database_is_refused_unchanged(tmp_path: Path, read_only: bool) -> None:
    """Somebody else's SQLite file is not touched."""
    path = tmp_path / "spanwise.db"
    _execute(path, "CREATE TABLE theirs (a)")
    before = path.read_bytes()

    with pytest.raises(SchemaError, match="not a Spanwise database"):
        open_store(tmp_path, read_only=read_only)

    assert path.read_bytes() == before


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, read_only: bool) -> None:
    """A text file under our name gives an error that names the file."""
    (tmp_path / "spanwise.db").write_text("notes " * 1_000)

    with pytest.raises(SchemaError, match=r"spanwise\.db.*not a database"):
        open_store(tmp_path, read_only=read_only)


def test_reading_without_a_database_says_what_to_do(tmp_path: Path) -> None:
    """A reader never makes a database."""
    with pytest.raises(StoreError, match="spanwise up"):
        open_store(tmp_path, read_only=True)

    assert list(tmp_path.iterdir()) == []


def test_a_database_that_waits_for_migration_is_not_read(tmp_path: Path) -> None:
    """A reader refuses an older schema and says who brings it up to date."""
    open_store(tmp_path).close()
    _execute(tmp_path / "spanwise.db", "PRAGMA user_version = 0")

    with pytest.raises(SchemaError, match="version 0"):
        open_store(tmp_path, read_only=True)


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that breaks off is undone, and the next start does it whole."""

    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half (a)")
        connection.execute("no SQL")

    with monkeypatch.context() as patch:
        patch.setattr("apm_store.sqlite.catalogue.CATALOGUE", Schema(CATALOGUE.application_id, (broken,)))
        with pytest.raises(StoreError, match="syntax error"):
            open_store(tmp_path)

    open_store(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "spanwise.db")
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    connection.close()
    assert "half" not in tables
    assert application_id == CATALOGUE.application_id


def test_the_services_are_summed_up_from_older_rollups(tmp_path: Path) -> None:
    """A catalogue without the roll-up of services gets it, as if it had always been written."""
    store = open_store(tmp_path)
    for number in range(1, 40):
        span = make_span("GET /", trace=number, start_ns=number * 400 * SECOND, duration_ns=number * 1_000_000)
        inner = make_span("SELECT", trace=number, span=2, parent=1, kind=3, start_ns=number * 400 * SECOND)
        store.traces.write(make_batch([span, inner]))
    store.close()
    written = _service_rollup(tmp_path)
    older = ("DROP TABLE service_rollup", "ALTER TABLE applied DROP COLUMN settled_ns", "PRAGMA user_version = 1")
    _execute(tmp_path / "spanwise.db", *older)

    open_store(tmp_path).close()

    assert {row[:2] for row in written} >= {(60, 2 * 400 // 60 * 60), (300, 300), (900, 900), (3600, 3600)}
    assert _service_rollup(tmp_path) == written


def _service_rollup(data_dir: Path) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(data_dir / "spanwise.db")
    rows = connection.execute("SELECT * FROM service_rollup ORDER BY 1, 2, 3, 4").fetchall()
    connection.close()
    return [(*row[:-1], tuple(sorted(Sketch.from_bytes(row[-1]).buckets.items()))) for row in rows]


def test_opening_again_keeps_what_was_stored(tmp_path: Path) -> None:
    """A store that is closed and opened again holds the same spans."""
    store = open_store(tmp_path)
    store.traces.write(make_batch([make_span("GET /")]))
    store.close()

    again = open_store(tmp_path)
    spans = again.traces.get("0" * 31 + "1")
    again.close()

    assert [span.name for span in spans] == ["GET /"]
