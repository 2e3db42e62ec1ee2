"""The queue on disk."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from apm_collector.exporters.disk_queue import DiskQueue, QueueFullError, Record
from apm_store.model import Signal

Open = Callable[..., DiskQueue]
DROPPED: Counter[tuple[Signal, str]] = Counter()


@pytest.fixture
def open_queue(tmp_path: Path) -> Iterator[Open]:
    """Open the queue of the test, also again; what it drops is counted in DROPPED."""
    opened: list[DiskQueue] = []
    DROPPED.clear()

    def on_drop(signal_: Signal, reason: str, items: int) -> None:
        DROPPED[signal_, reason] += items

    def open_one(max_bytes: int = 1_000_000, **flags: bool) -> DiskQueue:
        for former in opened:
            former.close()
        opened.append(DiskQueue(tmp_path / "queue" / "otlp", max_bytes, on_drop, **flags))
        return opened[-1]

    yield open_one
    for queue in opened:
        queue.close()


def take(queue: DiskQueue) -> Record:
    """Take the oldest record out."""
    record = queue.oldest(0)
    assert record is not None
    queue.remove(record)
    return record


def drain(queue: DiskQueue) -> list[bytes]:
    """Take everything out."""
    bodies = []
    while (record := queue.oldest(0)) is not None:
        queue.remove(record)
        bodies.append(record.body)
    return bodies


def segments(tmp_path: Path) -> list[Path]:
    """The segment files, oldest first."""
    return sorted((tmp_path / "queue" / "otlp").glob("*.segment"))


def test_records_come_out_in_order(open_queue: Open) -> None:
    """What goes in comes out once, in the same order, with its signal and its number of items."""
    queue = open_queue(4_000)
    for number, kind in enumerate(Signal):
        queue.append(kind, bytes([number]) * 700, number + 1)

    records = [take(queue) for _ in Signal]

    assert [(one.signal, one.body, one.item_count) for one in records] == [
        (kind, bytes([number]) * 700, number + 1) for number, kind in enumerate(Signal)
    ]
    assert queue.oldest(0) is None
    assert queue.waiting() == {}


def test_a_record_stays_until_it_is_removed(open_queue: Open) -> None:
    """To look at the oldest record does not take it out."""
    queue = open_queue()
    queue.append(Signal.LOGS, b"a", 1)

    first, again = queue.oldest(0), queue.oldest(0)

    assert first == again
    assert queue.waiting() == {Signal.LOGS: 1}


def test_what_waits_outlives_the_process(open_queue: Open) -> None:
    """After opening again the records that were not removed are there, and only those."""
    queue = open_queue()
    for number in range(5):
        queue.append(Signal.TRACES, b"%d" % number, 10)
    take(queue)

    again = open_queue()

    assert again.waiting() == {Signal.TRACES: 40}
    assert drain(again) == [b"1", b"2", b"3", b"4"]
    assert drain(open_queue()) == []


def test_records_of_several_processes_stay_in_order(open_queue: Open) -> None:
    """Each process appends behind what those before it left."""
    for number in range(4):
        open_queue().append(Signal.TRACES, b"%d" % number, 1)

    assert drain(open_queue()) == [b"0", b"1", b"2", b"3"]


def test_numbers_of_segments_do_not_begin_again(open_queue: Open, tmp_path: Path) -> None:
    """After everything was delivered a stale cursor must not point into new records."""
    queue = open_queue()
    queue.append(Signal.TRACES, b"old", 1)
    take(queue)
    queue = open_queue()
    assert queue.oldest(0) is None
    queue = open_queue()
    queue.append(Signal.TRACES, b"new", 1)

    again = open_queue()

    assert drain(again) == [b"new"]


def test_a_full_queue_drops_its_oldest_and_counts_it(open_queue: Open) -> None:
    """The files never grow beyond the bound, the newest records stay, and every item is accounted for."""
    queue = open_queue(64_000)
    for number in range(1_000):
        queue.append(Signal.TRACES, b"%04d" % number + bytes(300), 2)
        assert queue.size_bytes() <= 64_000

    left = [int(body[:4]) for body in drain(queue)]

    assert left == list(range(left[0], 1_000))
    assert len(left) > 150
    assert {(Signal.TRACES, "queue_full"): 2 * left[0]} == DROPPED


def test_a_record_in_hand_is_not_counted_as_dropped(open_queue: Open) -> None:
    """Whoever has it in hand sees that it is gone, and tells what became of it."""
    queue = open_queue(64_000)
    queue.append(Signal.TRACES, bytes(3_000), 7)
    record = queue.oldest(0)
    assert record is not None
    held = queue.holds(record)
    for _ in range(40):
        queue.append(Signal.TRACES, bytes(3_000), 1)

    is_still_held = queue.holds(record)
    queue.remove(record)

    assert (held, is_still_held) == (True, False)
    assert DROPPED[Signal.TRACES, "queue_full"] + len(drain(queue)) == 40


def test_the_only_copy_is_never_dropped(open_queue: Open) -> None:
    """A full queue takes nothing more, and takes again once there is room."""
    queue = open_queue(64_000, is_only_copy=True)
    taken = 0
    with pytest.raises(QueueFullError, match="full"):
        for _ in range(1_000):
            queue.append(Signal.TRACES, bytes(1_000), 1)
            taken += 1

    assert len(drain(queue)) == taken > 50
    queue.append(Signal.TRACES, b"x", 1)
    assert drain(queue) == [b"x"]
    assert not DROPPED


def test_a_request_larger_than_the_queue_is_not_taken(open_queue: Open) -> None:
    """Nothing is dropped for a request that could not be held anyway."""
    queue = open_queue(10_000)
    queue.append(Signal.TRACES, b"a", 1)

    with pytest.raises(QueueFullError, match="larger than the whole queue"):
        queue.append(Signal.TRACES, bytes(10_001), 1)

    assert drain(queue) == [b"a"]


@pytest.mark.parametrize("cut", [1, 5, 20, 100, 116])
def test_a_torn_tail_is_passed_over(cut: int, open_queue: Open, tmp_path: Path) -> None:
    """What a killed process left half written hides nothing that was written before or comes after."""
    queue = open_queue()
    queue.append(Signal.TRACES, b"whole", 1)
    whole = segments(tmp_path)[0].stat().st_size
    queue.append(Signal.TRACES, bytes(100), 5)
    queue.close()
    os.truncate(segments(tmp_path)[0], whole + cut)

    again = open_queue()
    again.append(Signal.TRACES, b"later", 1)

    assert drain(again) == [b"whole", b"later"]
    assert again.waiting() == {}
    assert ({(Signal.TRACES, "corrupt"): 5} if cut >= 17 else {}) == DROPPED


def test_a_damaged_body_costs_its_record_alone(open_queue: Open, tmp_path: Path) -> None:
    """The records around it are delivered, and its items are counted."""
    queue = open_queue()
    for text in (b"one", b"two", b"three"):
        queue.append(Signal.LOGS, text, 3)
    queue.close()
    path = segments(tmp_path)[0]
    path.write_bytes(path.read_bytes().replace(b"two", b"tvo"))

    again = open_queue()

    assert drain(again) == [b"one", b"three"]
    assert again.waiting() == {}
    assert DROPPED == {(Signal.LOGS, "corrupt"): 3}


def test_a_damaged_header_costs_the_rest_of_its_segment(open_queue: Open, tmp_path: Path) -> None:
    """Damage that happens while the queue is open is counted exactly; other segments are delivered."""
    queue = open_queue(10_000)
    for number in range(8):
        queue.append(Signal.TRACES, b"%d" % number + bytes(250), 2)
    path = segments(tmp_path)[0]
    per_segment = 2
    assert len(segments(tmp_path)) == 8 // per_segment
    path.write_bytes(bytes(path.stat().st_size))

    numbers = [int(body[:1]) for body in drain(queue)]

    assert numbers == list(range(per_segment, 8))
    assert {(Signal.TRACES, "corrupt"): 2 * per_segment} == DROPPED
    assert queue.waiting() == {}


@pytest.mark.parametrize("cursor", [b"", b"short", bytes(20), Random(7).randbytes(20)])
def test_a_damaged_cursor_delivers_again_and_loses_nothing(cursor: bytes, open_queue: Open, tmp_path: Path) -> None:
    """Without a cursor everything that still lies there is handed out."""
    queue = open_queue()
    for text in (b"one", b"two"):
        queue.append(Signal.TRACES, text, 1)
    take(queue)
    queue.close()
    (tmp_path / "queue" / "otlp" / "cursor").write_bytes(cursor)

    assert drain(open_queue()) == [b"one", b"two"]


def test_foreign_files_are_left_alone(open_queue: Open, tmp_path: Path) -> None:
    """A file that is no segment of ours is neither read nor deleted."""
    open_queue().append(Signal.TRACES, b"a", 1)
    foreign = tmp_path / "queue" / "otlp" / "notes.segment"
    foreign.write_text("mine")

    assert drain(open_queue()) == [b"a"]
    assert foreign.read_text() == "mine"


def test_files_are_their_owners_alone(open_queue: Open, tmp_path: Path) -> None:
    """Directories are 0700 and files 0600, whatever the umask."""
    former = os.umask(0)
    try:
        open_queue().append(Signal.TRACES, b"a", 1)
    finally:
        os.umask(former)

    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "queue" / "otlp").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "queue").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "queue" / "otlp").stat().st_mode) == 0o700


def test_close_wakes_whoever_waits(open_queue: Open) -> None:
    """A thread that waits for a record gets None; afterwards nothing is taken."""
    queue = open_queue()
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(queue.oldest(60)))
    waiting.start()

    queue.close()
    waiting.join(5)

    assert answers == [None]
    with pytest.raises(QueueFullError, match="closed"):
        queue.append(Signal.TRACES, b"a", 1)


def test_many_threads_append(open_queue: Open) -> None:
    """Records of threads that append at once are all there, whole."""
    queue = open_queue(is_only_copy=True)

    def append(name: int) -> None:
        for number in range(50):
            queue.append(Signal.TRACES, b"%d:%d" % (name, number) + bytes(500), 1)

    threads = [threading.Thread(target=append, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    bodies = [body.rstrip(b"\0") for body in drain(queue)]
    assert sorted(bodies) == sorted(b"%d:%d" % (name, number) for name in range(4) for number in range(50))


def test_after_a_failed_sync_nothing_more_goes_to_that_file(
    open_queue: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that may not be on disk is not taken; the next one goes to a new file."""
    queue = open_queue(is_only_copy=True)
    queue.append(Signal.TRACES, b"a", 1)

    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail)
        with pytest.raises(OSError, match="Input/output error"):
            queue.append(Signal.TRACES, b"b", 1)
    queue.append(Signal.TRACES, b"c", 1)

    assert len(segments(tmp_path)) == 2
    assert drain(queue)[::2] == [b"a", b"c"]


def test_a_full_disk_leaves_no_half_record(open_queue: Open, tmp_path: Path) -> None:
    """An append that the disk cuts off fails, and the next one is whole."""
    program = textwrap.dedent(f"""
        import resource, signal
        from pathlib import Path
        from apm_collector.exporters.disk_queue import DiskQueue
        from apm_store.model import Signal
        queue = DiskQueue(Path({str(tmp_path / "queue" / "otlp")!r}), 1_000_000, print)
        queue.append(Signal.TRACES, b"before", 1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
        try:
            queue.append(Signal.TRACES, bytes(1000), 1)
        except OSError:
            queue.append(Signal.TRACES, b"after", 1)
    """)
    (tmp_path / "queue").mkdir()
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)

    assert drain(open_queue()) == [b"before", b"after"]
    assert not DROPPED


def test_kill_9_loses_nothing_that_was_taken(open_queue: Open, tmp_path: Path) -> None:
    """Every record whose append returned before the kill is there, in order."""
    program = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from apm_collector.exporters.disk_queue import DiskQueue
        from apm_store.model import Signal
        queue = DiskQueue(Path({str(tmp_path / "queue" / "otlp")!r}), 100_000_000, print)
        for number in range(1_000_000):
            queue.append(Signal.TRACES, b"%08d" % number + bytes(2000), 1)
            sys.stdout.write(f"{{number}}\\n")
            sys.stdout.flush()
    """)
    (tmp_path / "queue").mkdir()
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) == 500:
            break
    child.send_signal(signal.SIGKILL)
    taken = int((child.stdout.read().split() or ["500"])[-1])
    child.wait()
    child.stdout.close()

    numbers = [int(body[:8]) for body in drain(open_queue(100_000_000))]

    assert taken >= 500
    assert numbers[: taken + 1] == list(range(taken + 1))
