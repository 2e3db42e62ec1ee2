"""What is acknowledged is stored once, durably, whatever happens around it."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count, permutations
from pathlib import Path

import pytest
from builders import make_batch, make_span
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from apm_store.api import Store, StoreBusyError, StoreClosedError, StoreError, StoreFullError
from apm_store.model import Batch, Signal
from apm_store.open import open_store
from apm_store.query import SpanAggregate, TimeRange
from apm_store.sqlite import body_log
from apm_store.sqlite import writer as writer_module
from apm_store.sqlite.body_log import BodyLog
from apm_store.sqlite.indexer import Indexer, Waiting
from apm_store.sqlite.writer import Writer

EVER = TimeRange(0, 2**63)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Where the store lies."""
    return tmp_path / "data"


def _batch(first: int, count: int = 3) -> Batch:
    return make_batch([make_span("GET /", trace=number, span=number) for number in range(first, first + count)])


def _counts(store: Store) -> tuple[int, int]:
    """How many spans are stored, and how many came again."""
    store.stats()
    health = store.health()
    return health.stored["traces"], health.duplicates["traces"]


class Gate:
    """Keeps every writer from appending to its log until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open = threading.Event()
        self.appends: list[int] = []
        real = BodyLog.append

        def append(log: BodyLog, frames: list[bytes]) -> list[int]:
            self.appends.append(len(frames))
            assert self._open.wait(10)
            return real(log, frames)

        monkeypatch.setattr(BodyLog, "append", append)

    def wait_for_writer(self) -> None:
        """Return when the writer has taken what waited, and stands at the gate."""
        wait_until(lambda: bool(self.appends))

    def open(self) -> None:
        """Let the writer write."""
        self._open.set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A closed gate before the log."""
    made = Gate(monkeypatch)
    yield made
    made.open()


def wait_until(is_so: Callable[[], bool]) -> None:
    """Return as soon as something is so; fail after 5 s."""
    tick = threading.Event()
    for _ in range(1_000):
        if is_so():
            return
        tick.wait(0.005)
    raise AssertionError("it did not happen within 5 s")


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_spans_that_come_three_times_are_stored_and_counted_once(tmp_path: Path, order: tuple[int, ...]) -> None:
    """Overlapping batches, each sent three times in any order, give every span once in traces and roll-ups."""
    batches = [_batch(1, 4), _batch(3, 4), _batch(2, 2)]
    store = open_store(tmp_path)

    for _ in range(3):
        for i in order:
            store.traces.write(batches[i])

    [row] = store.traces.aggregate(SpanAggregate(EVER, entry_only=True))
    spans = [span for number in range(1, 8) for span in store.traces.get(f"{number:032x}")]
    counts = _counts(store)
    store.close()
    assert counts == (6, 3 * 10 - 6)
    assert row.count == len(spans) == 6


def test_a_client_and_a_server_may_share_a_span_id(data_dir: Path) -> None:
    """Spans of equal ids and different kind are two spans."""
    store = open_store(data_dir)

    store.traces.write(make_batch([make_span("call", kind=2), make_span("call", kind=3)]))

    kinds = [span.kind for span in store.traces.get(f"{1:032x}")]
    store.close()
    assert sorted(kinds) == [2, 3]


def test_an_empty_batch_stores_nothing(data_dir: Path) -> None:
    """A batch without items is acknowledged and leaves no trace."""
    store = open_store(data_dir)

    store.traces.write(make_batch([]))

    bodies = list(store.bodies(Signal.TRACES, EVER))
    store.close()
    assert bodies == []


def test_waiting_batches_share_one_commit(data_dir: Path, gate: Gate) -> None:
    """Batches that arrive during a commit are committed together afterwards."""
    writer = Writer(data_dir)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(writer.write, _batch(1))
        gate.wait_for_writer()
        others = [pool.submit(writer.write, _batch(10 * number)) for number in range(1, 9)]
        wait_until(lambda: len(writer._waiting) == 8)
        gate.open()
        for future in [first, *others]:
            future.result()

    writer.close()
    assert gate.appends == [1, 8]


def test_too_many_waiting_bytes_are_refused(data_dir: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the byte budget write() raises StoreBusyError at once and stores nothing."""
    monkeypatch.setattr(writer_module, "QUEUE_BYTES", 300)
    store = open_store(data_dir)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(store.traces.write, _batch(1))
        gate.wait_for_writer()
        second = pool.submit(store.traces.write, _batch(10))
        wait_until(lambda: store._writer.queue_bytes > 0)  # type: ignore[attr-defined]

        with pytest.raises(StoreBusyError):
            store.traces.write(_batch(20))

        gate.open()
        first.result()
        second.result()
    counts = _counts(store)
    store.close()
    assert counts == (6, 0)


def test_closing_writes_what_waits(data_dir: Path, gate: Gate) -> None:
    """close() drains; afterwards write() raises StoreClosedError, and close() may come again."""
    writer = Writer(data_dir)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(writer.write, _batch(1))
        gate.wait_for_writer()
        second = pool.submit(writer.write, _batch(10))
        wait_until(lambda: writer.queue_bytes > 0)
        closing = pool.submit(writer.close)
        wait_until(lambda: writer._is_closed)
        gate.open()
        for future in (first, second, closing):
            future.result()
    writer.close()

    store = open_store(data_dir, read_only=True)
    spans = store.stats().spans
    store.close()
    assert spans == 6
    with pytest.raises(StoreClosedError):
        writer.write(_batch(1))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_writer_thread_leaves_nobody_waiting(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the writer thread dies, the batch it held and all later ones fail instead of hanging."""

    def die(*_: object) -> None:
        raise SystemError("the thread dies")

    writer = Writer(data_dir)
    monkeypatch.setattr(BodyLog, "append", die)

    with pytest.raises(StoreError, match="has stopped"):
        writer.write(_batch(1))

    with pytest.raises(StoreError):
        writer.write(_batch(2))
    writer.close()


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_full_disk_refuses_and_loses_nothing(data_dir: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Without space write() raises StoreFullError; what was stored before stays, and later batches are taken again."""
    store = open_store(data_dir)
    store.traces.write(_batch(1))
    log = store._writer._log  # type: ignore[attr-defined]
    size = log.size

    def fail(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as broken:
        broken.setattr(body_log.os, call, fail)
        with pytest.raises((StoreFullError, StoreError)):
            store.traces.write(_batch(10))
    store.traces.write(_batch(20))

    found = [bool(store.traces.get(f"{number:032x}")) for number in (1, 10, 20)]
    store.close()
    assert size > 0
    assert found == [True, False, True]


def test_a_failed_sync_is_not_built_upon(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the disk lost a write the log is opened anew and looked through; what was refused is not in it."""
    store = open_store(data_dir)
    store.traces.write(_batch(1))
    log = store._writer._log  # type: ignore[attr-defined]
    real, faults = os.fdatasync, [OSError(5, os.strerror(5))]

    def fail(fd: int) -> None:
        if faults:
            raise faults.pop()
        real(fd)

    monkeypatch.setattr(body_log.os, "fdatasync", fail)
    with pytest.raises(StoreError, match="Input/output error"):
        store.traces.write(_batch(10))
    store.traces.write(_batch(20))

    is_same = store._writer._log is log  # type: ignore[attr-defined]
    counts = _counts(store)
    store.close()
    assert not is_same
    assert counts == (6, 0)


@pytest.mark.parametrize("every", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("fault", [errno.EIO, errno.ENOSPC, errno.EFBIG, None])
def test_faults_of_every_nth_call_lose_nothing_acknowledged(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, fault: int | None, every: int
) -> None:
    """Whichever call to the disk fails, or writes a part: what was acknowledged is stored, what was refused is not."""
    store = open_store(data_dir)
    calls = count(1)
    real = {name: getattr(os, name) for name in ("pwrite", "fdatasync", "ftruncate", "fsync")}

    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        if next(calls) % every == 0:
            if fault is not None:
                raise OSError(fault, os.strerror(fault))
            return int(real["pwrite"](fd, data[: len(data) // 3 + 1], offset))
        return int(real["pwrite"](fd, data, offset))

    def sync(name: str) -> Callable[..., None]:
        def call(*values: int) -> None:
            if fault is not None and next(calls) % every == 0:
                raise OSError(fault, os.strerror(fault))
            real[name](*values)

        return call

    acknowledged = set()
    with monkeypatch.context() as broken:
        broken.setattr(body_log.os, "pwrite", pwrite)
        for name in ("fdatasync", "ftruncate", "fsync"):
            broken.setattr(body_log.os, name, sync(name))
        for number in range(1, 21):
            with suppress(StoreError):
                store.traces.write(_batch(number * 10))
                acknowledged.add(number)
    store.traces.write(_batch(1_000))
    store.close()

    again = open_store(data_dir)
    found = {number for number in range(1, 21) if again.traces.get(f"{number * 10:032x}")}
    later = again.traces.get(f"{1_000:032x}")
    again.close()
    assert found == acknowledged
    assert fault is None or len(acknowledged) < 20
    assert later


def test_the_files_are_for_their_owner_alone(data_dir: Path) -> None:
    """Files have mode 0600 and directories 0700, whatever the umask."""
    before = os.umask(0)
    try:
        store = open_store(data_dir)
        store.traces.write(_batch(1))
        store.stats()
        modes = {path.name: path.stat().st_mode & 0o777 for path in data_dir.rglob("*")}
        store.close()
    finally:
        os.umask(before)

    assert {modes[name] for name in ("segments", "000001")} == {0o700}
    assert {mode for name, mode in modes.items() if name not in ("segments", "000001")} == {0o600}
    assert data_dir.stat().st_mode & 0o777 == 0o700


def test_a_full_log_is_followed_by_another_segment(data_dir: Path) -> None:
    """A trace that lies in two segments is read whole, and no span of it is counted twice."""
    store = open_store(data_dir)
    store._writer._segment_bytes = 1  # type: ignore[attr-defined]
    for number in (1, 2, 2, 3):
        store.traces.write(make_batch([make_span("part", trace=1, span=number)]))

    spans = store.traces.get(f"{1:032x}")
    health = store.health()
    counts = _counts(store)
    store.close()
    assert len(spans) == 3
    assert health.segments == 4
    assert counts == (3, 1)


SENDER = """
import sys
from pathlib import Path
from apm_store.open import open_store
from builders import make_batch, make_span
store = open_store(Path(sys.argv[1]))
number, step = int(sys.argv[2]), 20
with open(sys.argv[3], "a", buffering=1) as ledger:
    while True:
        spans = [make_span("work", trace=n, span=n) for n in range(number, number + step)]
        store.traces.write(make_batch(spans))
        ledger.write(f"{number}\\n")
        number += step
"""


def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path) -> None:
    """A process killed at a random moment has lost nothing that it had acknowledged, and every count is right."""
    data, ledger, root = tmp_path / "data", tmp_path / "ledger", Path(__file__).parents[3]
    dice = random.Random(7)
    sent: set[int] = set()
    for round_number in range(3):
        ledger.write_text("")
        first = 1 + round_number * 1_000_000
        command = [sys.executable, "-c", SENDER, str(data), str(first), str(ledger)]
        process = subprocess.Popen(command, cwd=root, env={"PYTHONPATH": f"{root}:{root / 'tests'}"})
        wait_until(lambda: ledger.read_text().count("\n") >= 3)
        threading.Event().wait(dice.uniform(0, 1.5))
        process.send_signal(signal.SIGKILL)
        process.wait()

        sent |= {int(line) + i for line in ledger.read_text().split("\n")[:-1] for i in range(20)}
        store = open_store(data)
        found = {
            int.from_bytes(span.trace_id, "big")
            for body in store.bodies(Signal.TRACES, EVER)
            for span in ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans
        }
        [row] = store.traces.aggregate(SpanAggregate(EVER))
        spans = store.stats().spans
        store.close()
        assert found >= sent
        assert row.count == spans == len(found)


def test_what_was_just_acknowledged_is_seen_by_the_next_question(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late the indexer hears of a batch, its sender finds it once write() has returned."""
    store = open_store(data_dir)
    real = Indexer.put

    def put(indexer: Indexer, bodies: list[Waiting]) -> None:
        threading.Event().wait(0.2)
        real(indexer, bodies)

    monkeypatch.setattr(Indexer, "put", put)
    store.traces.write(_batch(1))

    spans = store.traces.get(f"{1:032x}")
    store.close()
    assert len(spans) == 1
