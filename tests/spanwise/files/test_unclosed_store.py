"""Every way to read a store that a killed process left half written says in words what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import make_batch, make_span
from stack import free_port

from apm_store.open import open_store
from spanwise.settings import Settings

Run = Callable[..., Any]
HALF = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA journal_mode = DELETE")
database.execute("PRAGMA cache_size = 5")  # so that the transaction reaches the file before its end
database.execute("BEGIN")
database.execute("CREATE TABLE big (text TEXT)")
database.executemany("INSERT INTO big VALUES (?)", [("x" * 3000,)] * 500)
print(1, flush=True)
input()
"""
WORDS = "the last run ended without closing it. Start `spanwise up` once"


@pytest.fixture
def unclosed(data_dir: Path) -> Path:
    """A data directory with one span, in which a process was killed amid a transaction."""
    store = open_store(data_dir)
    store.traces.write(make_batch([make_span("op")]))
    store.close()
    with subprocess.Popen([sys.executable, "-c", HALF, data_dir / "spanwise.db"], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        process.kill()
    return data_dir


@pytest.mark.parametrize("argv", [("status",), ("export",), ("backup", "copy")], ids=lambda argv: argv[0])
def test_a_command_says_what_to_do(
    argv: tuple[str, ...], spanwise: Run, unclosed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 1, one sentence with the cure, and nothing is left behind."""
    monkeypatch.chdir(tmp_path)

    outcome = spanwise(*argv)

    assert outcome.status == 1
    assert WORDS in outcome.out + outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "copy").exists()
    assert unclosed.is_dir()


def test_the_ui_ends_with_the_same_words(unclosed: Path) -> None:
    """The supervisor shows the last line of a part that did not start: it is the sentence, not a traceback."""
    settings = Settings(unclosed, unclosed / "config.yaml", unclosed / "slos", ui_port=free_port())
    lifeline, go = os.pipe()
    ready, say = os.pipe()
    os.write(go, b"go\n")
    argv = [sys.executable, "-m", "spanwise.part", "ui", settings.to_json()]

    part = subprocess.run(
        [*argv, f"--lifeline-fd={lifeline}", f"--ready-fd={say}"],
        check=False,
        pass_fds=(lifeline, say),
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )

    for fd in (lifeline, go, ready, say):
        os.close(fd)
    assert part.returncode == 1
    assert WORDS in part.stderr.splitlines()[-1]
    assert "Traceback" not in part.stderr


def test_one_start_puts_it_in_order(spanwise: Run, unclosed: Path) -> None:
    """After a writer has had it open, the span is exported."""
    open_store(unclosed).close()

    outcome = spanwise("export", "--signal", "traces")

    assert outcome.status == 0, outcome.err
    assert "1 span exported" in outcome.err
