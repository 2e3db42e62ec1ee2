"""What is acknowledged is stored once, durably, whatever happens around it."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from builders import make_batch, make_span

from apm_store.api import StoreBusyError, StoreClosedError, StoreError, WriteOutcome
from apm_store.model import Batch
from apm_store.open import open_store
from apm_store.query import SpanAggregate, TimeRange
from apm_store.sqlite import writer as writer_module
from apm_store.sqlite.transaction import Transaction
from apm_store.sqlite.writer import Writer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database lies."""
    return tmp_path / "data" / "spanwise.db"


def _batch(first: int, count: int = 3) -> Batch:
    return make_batch([make_span("GET /", trace=number, span=number) for number in range(first, first + count)])


def _count(path: Path, table: str) -> int:
    connection = sqlite3.connect(path)
    count: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    connection.close()
    return count


class Blocker:
    """Another connection that keeps a writer from committing until it lets go; notes what the writer executes."""

    def __init__(self, writer: Writer) -> None:
        self.statements: list[str] = []
        writer._connection.set_trace_callback(self.statements.append)
        file = writer._connection.execute("PRAGMA database_list").fetchone()[2]
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._connection.execute("BEGIN IMMEDIATE")

    def wait_for_writer(self) -> None:
        """Return when the writer has taken what waited, and stands at the lock."""
        _wait_until(lambda: "BEGIN IMMEDIATE" in self.statements)

    def let_go(self) -> None:
        """Let the writer write."""
        self._connection.close()


def test_a_repeated_body_stores_nothing(path: Path) -> None:
    """The same body again is all duplicates, and one body is on disk."""
    writer = Writer(path)

    first, second = writer.write(_batch(1)), writer.write(_batch(1))

    writer.close()
    assert (first, second) == (WriteOutcome(3, 0), WriteOutcome(0, 3))
    assert (_count(path, "span"), _count(path, "body")) == (3, 1)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_spans_that_come_three_times_are_stored_and_counted_once(tmp_path: Path, order: tuple[int, ...]) -> None:
    """Overlapping batches, each sent three times in any order, give every span once in rows and roll-ups."""
    batches = [_batch(1, 4), _batch(3, 4), _batch(2, 2)]
    store = open_store(tmp_path)

    outcomes = [store.traces.write(batches[i]) for _ in range(3) for i in order]

    [row] = store.traces.aggregate(SpanAggregate(TimeRange(0, 2**63), entry_only=True))
    spans = store.stats().spans
    store.close()
    assert sum(outcome.stored for outcome in outcomes) == spans == row.count == 6
    assert sum(outcome.duplicates for outcome in outcomes) == 3 * 10 - 6


def test_a_client_and_a_server_may_share_a_span_id(path: Path) -> None:
    """Spans of equal ids and different kind are two spans."""
    writer = Writer(path)

    outcome = writer.write(make_batch([make_span("call", kind=2), make_span("call", kind=3)]))

    writer.close()
    assert outcome == WriteOutcome(2, 0)


def test_an_empty_batch_stores_nothing(path: Path) -> None:
    """A batch without items is acknowledged and leaves no trace."""
    writer = Writer(path)

    outcome = writer.write(make_batch([]))

    writer.close()
    assert outcome == WriteOutcome(0, 0)
    assert _count(path, "body") == 0


def test_waiting_batches_share_one_commit(path: Path) -> None:
    """Batches that arrive during a commit are committed together afterwards."""
    writer = Writer(path)
    blocker = Blocker(writer)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(writer.write, _batch(1))
        blocker.wait_for_writer()
        others = [pool.submit(writer.write, _batch(10 * number)) for number in range(1, 9)]
        _wait_until(lambda: len(writer._waiting) == 8)
        blocker.let_go()

        outcomes = [future.result() for future in [first, *others]]

    writer.close()
    assert all(outcome.stored == 3 for outcome in outcomes)
    assert blocker.statements.count("COMMIT") == 2


def _wait_until(is_so: Callable[[], bool]) -> None:
    tick = threading.Event()
    for _ in range(1_000):
        if is_so():
            return
        tick.wait(0.005)
    raise AssertionError("it did not happen within 5 s")


def test_a_bad_batch_costs_its_neighbours_nothing(path: Path) -> None:
    """In a shared commit the batch that cannot be stored fails alone, and changes nothing."""
    writer = Writer(path)
    good = _batch(1)
    blocker = Blocker(writer)
    with ThreadPoolExecutor(4) as pool:
        pool.submit(writer.write, _batch(50))
        blocker.wait_for_writer()
        broken = pool.submit(writer.write, replace(good, request=None, body=b"other"))
        _wait_until(lambda: len(writer._waiting) == 1)
        neighbour = pool.submit(writer.write, good)
        _wait_until(lambda: len(writer._waiting) == 2)
        blocker.let_go()

        with pytest.raises(StoreError, match="could not be stored"):
            broken.result()
        assert neighbour.result() == WriteOutcome(3, 0)

    writer.close()
    assert _count(path, "span") == 6


def test_a_batch_that_fails_late_is_undone_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a body cannot be stored, its rows, its names and its sums are gone, and the next batch is stored."""
    store = open_store(path.parent)
    real = writer_module._INSERT_BODY
    monkeypatch.setattr(writer_module, "_INSERT_BODY", "INSERT INTO no_such_table VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
    with pytest.raises(StoreError, match="no_such_table"):
        store.traces.write(_batch(1))
    monkeypatch.setattr(writer_module, "_INSERT_BODY", real)

    outcome = store.traces.write(_batch(1))

    [row] = store.traces.aggregate(SpanAggregate(TimeRange(0, 2**63)))
    names = [info.name for info in store.traces.services()]
    store.close()
    assert outcome == WriteOutcome(3, 0)
    assert (row.group, row.count, names) == (("shop",), 3, ["shop"])


def test_too_many_waiting_bytes_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the byte budget write() raises StoreBusyError at once and stores nothing."""
    monkeypatch.setattr(writer_module, "QUEUE_BYTES", 300)
    writer = Writer(path)
    blocker = Blocker(writer)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(writer.write, _batch(1))
        blocker.wait_for_writer()
        second = pool.submit(writer.write, _batch(10))
        _wait_until(lambda: len(writer._waiting) == 1)

        with pytest.raises(StoreBusyError):
            writer.write(_batch(20))

        blocker.let_go()
        assert first.result().stored + second.result().stored == 6
    writer.close()
    assert _count(path, "span") == 6


def test_closing_writes_what_waits(path: Path) -> None:
    """close() drains; afterwards write() raises StoreClosedError, and close() may come again."""
    writer = Writer(path)
    blocker = Blocker(writer)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(writer.write, _batch(1))
        blocker.wait_for_writer()
        second = pool.submit(writer.write, _batch(10))
        _wait_until(lambda: len(writer._waiting) == 1)
        closing = pool.submit(writer.close)
        _wait_until(lambda: writer._is_closed)
        blocker.let_go()
        closing.result()
    writer.close()

    assert first.result().stored + second.result().stored == _count(path, "span") == 6
    with pytest.raises(StoreClosedError):
        writer.write(_batch(1))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_writer_thread_leaves_nobody_waiting(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the writer thread dies, the batch it held and all later ones fail instead of hanging."""

    def die(_: Transaction) -> None:
        raise SystemError("the thread dies")

    writer = Writer(path)
    monkeypatch.setattr(Transaction, "flush", die)

    with pytest.raises(StoreError, match="has stopped"):
        writer.write(_batch(1))

    with pytest.raises(StoreError):
        writer.write(_batch(2))
    writer.close()


def test_a_failed_commit_fails_every_batch_of_it(path: Path) -> None:
    """When the database cannot grow, write() raises, nothing is stored, and later batches are tried again."""
    writer = Writer(path)
    pages = writer._connection.execute("PRAGMA page_count").fetchone()[0]
    writer._connection.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(StoreError, match="full"):
        writer.write(_batch(1, 2_000))

    writer._connection.execute("PRAGMA max_page_count = 1000000")
    assert writer.write(_batch(1, 2_000)) == WriteOutcome(2_000, 0)
    writer.close()


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    """The database has mode 0600 in a directory of mode 0700, and the settings that keep it safe."""
    writer = Writer(path)
    ask = {name: writer._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    vacuum = writer._connection.execute("PRAGMA auto_vacuum").fetchone()[0]

    writer.close()

    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert (ask, vacuum) == ({"journal_mode": "wal", "synchronous": 2}, 2)


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
    """A process killed at a random moment has lost nothing that it had acknowledged, and the file is whole."""
    data, ledger, root = tmp_path / "data", tmp_path / "ledger", Path(__file__).parents[3]
    dice = random.Random(7)
    for round_number in range(3):
        ledger.write_text("")
        first = 1 + round_number * 1_000_000
        command = [sys.executable, "-c", SENDER, str(data), str(first), str(ledger)]
        process = subprocess.Popen(command, cwd=root, env={"PYTHONPATH": f"{root}:{root / 'tests'}"})
        _wait_until(lambda: ledger.read_text().count("\n") >= 3)
        threading.Event().wait(dice.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()

        acknowledged = [int(line) for line in ledger.read_text().split("\n")[:-1]]
        connection = sqlite3.connect(data / "spanwise.db")
        stored = {int.from_bytes(row[0], "big") for row in connection.execute("SELECT trace_id FROM span")}
        counted = connection.execute("SELECT sum(count) FROM span_rollup WHERE step_s = 60").fetchone()[0]
        integrity = connection.execute("PRAGMA integrity_check").fetchone()[0]
        connection.close()
        assert {number + i for number in acknowledged for i in range(20)} <= stored
        assert (integrity, counted) == ("ok", len(stored))
