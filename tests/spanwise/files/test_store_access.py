"""A command has the store for itself or not at all, and leaves it to its owner alone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from spanwise.data_dir import DataDirError, Instance, claimed
from spanwise.files.store_access import CommandError, fail, reading, writing
from spanwise.settings import Settings


def _settings(data_dir: Path) -> Settings:
    return Settings(data_dir, data_dir / "config.yaml", data_dir / "slos")


def test_nobody_starts_while_a_command_writes(tmp_path: Path) -> None:
    """`spanwise up` is refused, and comes through when the command has ended."""
    instance = Instance(os.getpid(), "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")

    with (
        writing(_settings(tmp_path / "data")),
        pytest.raises(DataDirError, match="already uses"),
        claimed(tmp_path / "data", instance),
    ):
        pass

    with claimed(tmp_path / "data", instance):
        pass


def test_no_command_writes_while_spanwise_runs(tmp_path: Path) -> None:
    """The holder is named."""
    instance = Instance(4711, "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")

    with (
        claimed(tmp_path / "data", instance),
        pytest.raises(CommandError, match="Spanwise with pid 4711"),
        writing(_settings(tmp_path / "data")),
    ):
        pass


def test_a_command_keeps_to_the_bounds_of_the_settings(tmp_path: Path) -> None:
    """The budget that was set is the store's, as it is while Spanwise runs."""
    with writing(replace(_settings(tmp_path / "data"), max_bytes=800_000_000)) as store:
        health = store.health()

    assert health.budget_bytes == 800_000_000


def test_what_is_made_is_for_its_owner_alone(tmp_path: Path) -> None:
    """The directory is 0700, every file in it 0600, whatever the umask of the shell."""
    old_umask = os.umask(0)
    try:
        with writing(_settings(tmp_path / "data")):
            pass
    finally:
        os.umask(old_umask)

    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "data").rglob("*") if path.is_file()}
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert modes == {0o600}


def test_a_place_that_cannot_be_a_directory_is_said(tmp_path: Path) -> None:
    """A file in the way is no traceback."""
    (tmp_path / "file").touch()

    for access in (reading(tmp_path / "file"), writing(_settings(tmp_path / "file"))):
        with pytest.raises(CommandError, match="file"), access:
            pass


def test_a_failure_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The reason goes to stderr without control characters; the status is 1."""
    status = fail("bad\x1b[2J\nname")

    assert status == 1
    assert capsys.readouterr().err == "spanwise: bad\\x1b[2J\\nname\n"
