"""Who holds a data directory, and what is written while it is held."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spanwise.data_dir import LOCK_NAME, DataDirError, Instance, claimed, running_instance

INSTANCE = Instance(7, "127.0.0.1:5000", "127.0.0.1:4318", "127.0.0.1:4317")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_written_while_it_is_held_is_for_the_owner(tmp_path: Path, umask: int) -> None:
    """Directory, lock and files made meanwhile are closed to others; the umask is as before afterwards."""
    old = os.umask(umask)
    data_dir = tmp_path / "a" / "data"
    try:
        with claimed(data_dir, INSTANCE):
            (data_dir / "file").write_text("x")
            (data_dir / "folder").mkdir()
        left = os.umask(umask)
    finally:
        os.umask(old)

    modes = {path.name: path.stat().st_mode & 0o777 for path in (data_dir, *data_dir.iterdir())}
    assert modes == {"data": 0o700, LOCK_NAME: 0o600, "file": 0o600, "folder": 0o700}
    assert left == umask


def test_a_directory_that_was_open_is_closed(tmp_path: Path) -> None:
    """What others could read is theirs no longer once the directory is held."""
    tmp_path.chmod(0o755)
    (tmp_path / LOCK_NAME).touch(0o644)

    with claimed(tmp_path, INSTANCE):
        modes = [path.stat().st_mode & 0o777 for path in (tmp_path, tmp_path / LOCK_NAME)]

    assert modes == [0o700, 0o600]


def test_one_holder_at_a_time_and_everybody_can_ask_who(tmp_path: Path) -> None:
    """The second one is told who the first is; afterwards nobody is."""
    assert running_instance(tmp_path) is None
    with claimed(tmp_path, INSTANCE):
        assert running_instance(tmp_path) == INSTANCE
        with pytest.raises(DataDirError, match="pid 7"), claimed(tmp_path, INSTANCE):
            pass

    assert running_instance(tmp_path) is None
