"""A full disk refuses, loses nothing, and is left by itself as soon as there is space; tried on a real small disk."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from builders import make_batch, make_span

from apm_store.api import Store, StoreFullError
from apm_store.model import Batch
from apm_store.open import open_store
from apm_store.query import Retention, SpanAggregate, TimeRange
from apm_store.sqlite import retention as retention_module
from apm_store.sqlite import writer as writer_module
from apm_store.sqlite.disk_guard import RESERVE_BYTES, DiskGuard

EVER = TimeRange(0, 2**63)
MIB = 1024 * 1024
UNBOUNDED = Retention(budget_bytes=10**12)


def _mount(*options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", *options], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        _mount("-o", "size=64m", "spanwise", str(place))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no tmpfs can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_module, "CHECK_S", 0.2)
    monkeypatch.setattr("apm_store.sqlite.indexer._RETRY_S", 0.05)


def _batch(number: int) -> Batch:
    """Random spans, which compress badly: 2 KB each."""
    dice = random.Random(number)
    return make_batch(
        make_span("GET /", trace=number, span=number * 1000 + i, attributes={"key": dice.randbytes(2_000).hex()})
        for i in range(200)
    )


def _count(store: Store) -> int:
    return sum(row.count for row in store.traces.aggregate(SpanAggregate(EVER)))


def _is_taken(store: Store, number: int) -> bool:
    try:
        store.traces.write(_batch(number))
    except StoreFullError:
        return False
    return True


def _fill(store: Store, first: int) -> list[int]:
    """Write until the disk is full for good; the numbers of the batches that were acknowledged."""
    acknowledged = []
    refused = 0
    for number in range(first, first + 2_000):
        if _is_taken(store, number):
            acknowledged.append(number)
            refused = 0
            continue
        refused += 1
        if refused == 50:
            return acknowledged
        threading.Event().wait(0.02)
    raise AssertionError("the disk was never full")


def _wait_until(is_so: Callable[[], bool], limit_s: float) -> float:
    """How many seconds it took until something was so; fails when the limit is over."""
    started_s = time.monotonic()
    while not is_so():
        assert time.monotonic() - started_s < limit_s, f"it did not happen within {limit_s} s"
        threading.Event().wait(0.05)
    return time.monotonic() - started_s


def test_a_full_disk_refuses_until_it_is_larger(disk: Path) -> None:
    """On a full disk nothing acknowledged is lost, questions are answered, and writing resumes within 10 s."""
    store = open_store(disk / "data", retention=UNBOUNDED)
    has_reserve = (disk / "data" / "reserve").stat().st_blocks * 512 >= RESERVE_BYTES
    acknowledged = _fill(store, 1)
    _wait_until(lambda: any(notice.state == "critical" for notice in store.health().notices), 10)

    for number in range(50_000, 50_020):
        with pytest.raises(StoreFullError):
            store.traces.write(_batch(number))
    while_full = _count(store), len(store.traces.get(f"{acknowledged[-1]:032x}"))
    _mount("-o", "remount,size=160m", "spanwise", str(disk))

    took_s = _wait_until(lambda: _is_taken(store, 90_000), 10)
    _wait_until((disk / "data" / "reserve").exists, 10)
    after = _count(store)
    notices = [notice.text for notice in store.health().notices]
    store.close()
    again = open_store(disk / "data", retention=UNBOUNDED)
    reopened = _count(again), again.health()
    again.close()
    assert has_reserve
    assert while_full == (200 * len(acknowledged), 200)
    assert after == reopened[0] == 200 * (len(acknowledged) + 1)
    assert reopened[1].accepted["traces"] == reopened[1].stored["traces"] == after
    assert took_s < 10
    assert sum("is full" in text for text in notices) == 1


def test_a_store_opens_on_a_disk_that_is_full(disk: Path) -> None:
    """Though not a byte is free, the reserve lets the store be opened, asked and closed; nothing is lost."""
    store = open_store(disk / "data", retention=UNBOUNDED)
    for number in range(1, 6):
        store.traces.write(_batch(number))
    store.close()
    with (disk / "foreign").open("wb") as foreign:
        os.posix_fallocate(foreign.fileno(), 0, shutil.disk_usage(disk).free)

    store = open_store(disk / "data", retention=UNBOUNDED)

    counted = _count(store)
    is_taken = _is_taken(store, 6)
    store.close()
    assert counted == 1_000
    assert not is_taken


def test_a_disk_that_runs_low_loses_the_oldest_segments_first(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With small segments the disk is kept from being full: writing goes on, and each removal says why."""
    real = writer_module.Writer
    monkeypatch.setattr(
        "apm_store.sqlite.store._open_writer", lambda data_dir, bounds: real(data_dir, bounds, segment_bytes=2 * MIB)
    )
    store = open_store(disk / "data", retention=UNBOUNDED)
    taken = []
    for number in range(1, 301):
        if _is_taken(store, number):
            taken.append(number)
        else:
            threading.Event().wait(0.2)

    store.stats()
    health = store.health()
    held = store.stats().spans
    newest = len(store.traces.get(f"{taken[-1]:032x}"))
    store.close()
    assert {entry.reason for entry in health.prunes} == {"disk"}
    assert health.stored["traces"] == held + sum(entry.spans for entry in health.prunes) == 200 * len(taken)
    assert len(taken) > 150
    assert newest == 200
    assert any("left" in notice.text or "full" in notice.text for notice in health.notices)
    assert len(health.notices) < 20


def test_retention_frees_space_on_a_disk_without_any(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When somebody else fills the disk to the last byte, the reserve lets old segments be removed."""
    real = writer_module.Writer
    monkeypatch.setattr(
        "apm_store.sqlite.store._open_writer", lambda data_dir, bounds: real(data_dir, bounds, segment_bytes=2 * MIB)
    )
    store = open_store(disk / "data", retention=UNBOUNDED)
    for number in range(1, 101):
        store.traces.write(_batch(number))
    store.stats()
    with (disk / "foreign").open("wb") as foreign:
        os.posix_fallocate(foreign.fileno(), 0, shutil.disk_usage(disk).free)
    numbers = count(5_000)

    def is_pruned() -> bool:
        with suppress(StoreFullError):
            store.traces.write(_batch(next(numbers)))
        return any(entry.reason == "disk" for entry in store.health().prunes)

    _wait_until(is_pruned, 10)
    store.close()


def test_a_disk_that_is_small_from_the_start_is_not_made_smaller(tmp_path: Path, disk: Path) -> None:
    """With less than 64 MiB free no reserve is made; its blocks are real where it is made."""
    (disk / "foreign").write_bytes(bytes(8 * MIB))
    roomy = tmp_path / "roomy"
    roomy.mkdir()

    DiskGuard(disk)
    DiskGuard(roomy)

    assert not (disk / "reserve").exists()
    assert (roomy / "reserve").stat().st_blocks * 512 >= RESERVE_BYTES
    assert (roomy / "reserve").stat().st_mode & 0o777 == 0o600


LIMITED = """
import resource, sys
from pathlib import Path
from apm_store.api import StoreError, StoreFullError
from apm_store.open import open_store
from apm_store.query import Retention, SpanAggregate, TimeRange
from builders import make_batch, make_span
import random
import shutil
store = open_store(Path(sys.argv[1]), retention=Retention(budget_bytes=10**12))
def write(number):
    dice = random.Random(number)
    store.traces.write(make_batch(
        make_span("GET /", trace=number, span=number * 1000 + i, attributes={"key": dice.randbytes(400).hex()})
        for i in range(100)
    ))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, resource.RLIM_INFINITY))
stored = refused = 0
for number in range(1, 60):
    try:
        write(number)
        stored += 1
    except StoreFullError:
        refused += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
write(100)
print(stored, refused, sum(row.count for row in store.traces.aggregate(SpanAggregate(TimeRange(0, 2**63)))))
store.close()
"""


def test_a_file_that_may_not_grow_refuses_too(tmp_path: Path) -> None:
    """Beyond a limit to the size of files (EFBIG) requests are refused as on a full disk; then all goes on."""
    root = Path(__file__).parents[3]
    environment = {"PYTHONPATH": f"{root}:{root / 'tests'}"}

    command = [sys.executable, "-c", LIMITED, str(tmp_path / "data")]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=60, check=True)

    stored, refused, counted = map(int, done.stdout.split())
    assert stored > 0
    assert refused > 0
    assert counted == 100 * (stored + 1)
