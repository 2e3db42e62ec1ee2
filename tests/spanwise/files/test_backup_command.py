"""`spanwise backup`: a whole copy beside a store in use, and mistakes that cost nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import make_batch, make_span

from apm_store.open import open_store

Run = Callable[..., Any]


def test_a_backup_of_a_store_in_use_holds_what_was_acknowledged(spanwise: Run, data_dir: Path, tmp_path: Path) -> None:
    """While a writer has the store open, the copy opens by itself and has every span written before."""
    store = open_store(data_dir)
    store.traces.write(make_batch(make_span(f"s{number}", span=number) for number in range(1, 101)))

    outcome = spanwise("backup", tmp_path / "copy")

    store.close()
    copy = open_store(tmp_path / "copy")
    spans = copy.traces.get("1".zfill(32))
    copy.close()
    assert outcome.status == 0, outcome.err
    assert f"spanwise up --data {tmp_path / 'copy'}" in outcome.out
    assert len(spans) == 100


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("data", "is there already"),
        ("data/spanwise.db", "is there already"),
        ("missing/copy", "There is no directory"),
        ("data/copy", "lies in the data directory itself"),
    ],
)
def test_a_bad_place_is_refused(target: str, words: str, spanwise: Run, data_dir: Path, tmp_path: Path) -> None:
    """A backup never overwrites, and never lies in what it backs up."""
    open_store(data_dir).close()
    (data_dir / "spanwise.db").touch()

    outcome = spanwise("backup", tmp_path / target)

    assert outcome.status == 1
    assert words in outcome.err
    assert not (tmp_path / "missing").exists()


def test_nothing_to_back_up_is_said(spanwise: Run, tmp_path: Path) -> None:
    """A data directory that is not there is no traceback."""
    outcome = spanwise("backup", tmp_path / "copy", data=tmp_path / "none")

    assert outcome.status == 1
    assert "There is no data directory" in outcome.err
    assert not (tmp_path / "copy").exists()
