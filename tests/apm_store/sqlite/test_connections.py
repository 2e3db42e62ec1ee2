"""What a killed process leaves is read at once, or said in words until a writer has put it in order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from builders import make_batch, make_span

from apm_store.api import SchemaError
from apm_store.open import open_store

TRACE_ID = "1".zfill(32)
WRITING = """
from builders import make_batch, make_span
from apm_store.open import open_store
store = open_store(Path(sys.argv[1]))
store.traces.write(make_batch([make_span("op")]))
store.traces.get("1".zfill(32))
"""
JOURNAL = """
import sqlite3
database = sqlite3.connect(Path(sys.argv[1]) / "spanwise.db", isolation_level=None)
database.execute("PRAGMA journal_mode = DELETE")
database.execute("PRAGMA cache_size = 5")  # so that the transaction reaches the file before its end
database.execute("BEGIN")
database.execute("CREATE TABLE big (text TEXT)")
database.executemany("INSERT INTO big VALUES (?)", [("x" * 3000,)] * 500)
"""


def _run_and_kill(script: str, data_dir: Path) -> None:
    """Run a script with the data directory as its argument, and kill it (SIGKILL) at its end."""
    path = [str(Path(__file__).parents[3]), str(Path(__file__).parents[2])]
    whole = f"import sys\nfrom pathlib import Path\nsys.path[:0] = {path}\n{script}\nprint(1, flush=True)\ninput()\n"
    with subprocess.Popen([sys.executable, "-c", whole, data_dir], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        process.kill()


def test_a_killed_writers_store_is_read_at_once(tmp_path: Path) -> None:
    """The WAL that it left is taken up; nobody has to start Spanwise first."""
    _run_and_kill(WRITING, tmp_path / "data")

    store = open_store(tmp_path / "data", read_only=True)
    spans = store.traces.get(TRACE_ID)
    accepted = store.health().accepted
    store.close()

    assert (tmp_path / "data" / "spanwise.db-wal").stat().st_size > 0
    assert len(spans) == accepted["traces"] == 1


def test_what_only_a_writer_can_undo_is_said(tmp_path: Path) -> None:
    """Half a transaction in the file stops a reader in words; after one start everything is there."""
    store = open_store(tmp_path / "data")
    store.traces.write(make_batch([make_span("op")]))
    store.close()
    _run_and_kill(JOURNAL, tmp_path / "data")

    with pytest.raises(SchemaError, match=r"ended without closing it\. Start `spanwise up` once"):
        open_store(tmp_path / "data", read_only=True)

    open_store(tmp_path / "data").close()
    store = open_store(tmp_path / "data", read_only=True)
    spans = store.traces.get(TRACE_ID)
    store.close()
    assert len(spans) == 1
