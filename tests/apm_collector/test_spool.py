"""Records survive the process, and go when they are released."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from apm_collector.spool import Spool


@pytest.fixture
def spool_at() -> Iterator[Callable[[Path], Spool]]:
    """Opens spools; each opening stands for a process, and none of them releases anything by itself."""
    opened: list[Spool] = []

    def open_one(directory: Path) -> Spool:
        opened.append(Spool(directory))
        return opened[-1]

    yield open_one
    for spool in opened:
        spool.close()


def test_what_was_synced_is_replayed_by_the_next_process(spool_at: Callable[[Path], Spool], tmp_path: Path) -> None:
    """Released records of a file that is still needed come too; a replayed file goes."""
    spool = spool_at(tmp_path / "s")
    segment = spool.append([b"one", b"two", b""])
    spool.sync(segment)
    spool.release(segment)

    assert list(spool_at(tmp_path / "s").replay()) == [b"one", b"two", b""]
    assert list((tmp_path / "s").iterdir()) == []


def test_a_file_goes_with_its_last_record(spool_at: Callable[[Path], Spool], tmp_path: Path) -> None:
    """The spool is empty when all is released, and can be written again."""
    spool = spool_at(tmp_path)
    segment = spool.append([b"one", b"two"])
    spool.release(segment)
    spool.release(segment)
    spool.sync(segment)

    assert list(tmp_path.iterdir()) == []
    assert spool.append([b"three"]) is not segment


@pytest.mark.parametrize("cut", [1, 5, 9, 12])
def test_a_torn_record_ends_its_file(spool_at: Callable[[Path], Spool], tmp_path: Path, cut: int) -> None:
    """A power cut in the middle of a write costs nothing that was synced before."""
    segment = spool_at(tmp_path).append([b"first", b"second"])
    segment.path.write_bytes(segment.path.read_bytes()[:-cut])

    assert list(spool_at(tmp_path).replay()) == [b"first"]


def test_a_damaged_record_ends_its_file(spool_at: Callable[[Path], Spool], tmp_path: Path) -> None:
    """The checksum tells; the files after it are read."""
    segment = spool_at(tmp_path).append([b"first", b"second"])
    segment.path.write_bytes(segment.path.read_bytes().replace(b"second", b"sicond"))
    spool_at(tmp_path).append([b"third"])

    assert list(spool_at(tmp_path).replay()) == [b"first", b"third"]


def test_a_spool_does_not_replay_its_own_records(spool_at: Callable[[Path], Spool], tmp_path: Path) -> None:
    """What it holds is in memory as well."""
    spool = spool_at(tmp_path)
    spool.append([b"own"])

    assert list(spool.replay()) == []


def test_large_records_fill_several_files(spool_at: Callable[[Path], Spool], tmp_path: Path) -> None:
    """A full file goes as soon as its own records are released."""
    spool = spool_at(tmp_path)
    segments = [spool.append([bytes(5_000_000)]) for _ in range(4)]

    for segment in segments[:2]:
        spool.release(segment)

    assert list(tmp_path.iterdir()) == [segments[2].path]


def test_files_are_the_owner_s_alone(spool_at: Callable[[Path], Spool], tmp_path: Path) -> None:
    """0600 in 0700."""
    segment = spool_at(tmp_path / "s").append([b"one"])

    assert stat.S_IMODE(segment.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(segment.path.parent.stat().st_mode) == 0o700


def test_many_threads_write_at_once(spool_at: Callable[[Path], Spool], tmp_path: Path) -> None:
    """Every record is whole, and there once."""
    spool = spool_at(tmp_path)

    def write(number: int) -> None:
        spool.sync(spool.append([b"%d-" % number * 50]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(400)))

    assert sorted(spool_at(tmp_path).replay()) == sorted(b"%d-" % number * 50 for number in range(400))
