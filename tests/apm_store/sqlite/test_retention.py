"""A store keeps within its bounds: whole segments go, the oldest first, and it says so."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builders import MS, SECOND, make_batch, make_span
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from apm_store.api import Store, StoreError
from apm_store.model import Batch, Signal
from apm_store.open import open_store
from apm_store.query import (
    LogQuery,
    MetricQuery,
    MetricSeriesQuery,
    Retention,
    SpanAggregate,
    StoreHealth,
    TimeRange,
    TraceQuery,
)
from apm_store.sqlite import retention as retention_module
from apm_store.sqlite import writer as writer_module
from apm_store.sqlite.catalogue import Catalogue
from apm_store.sqlite.condition import bytes_on_disk
from apm_store.sqlite.kept_traces import KeptSegment
from apm_store.sqlite.segments import SegmentFiles, mark_dropped, segment_ids
from apm_store.sqlite.steady_clock import SteadyClock

EVER = TimeRange(0, 2**63)
SMALL = 8 * 1024
YESTERDAY_NS = time.time_ns() - 86_400 * SECOND


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds are looked at often."""
    monkeypatch.setattr(retention_module, "CHECK_S", 0.05)


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Store]]:
    """Opens the store in `data` with segments of a few requests, and closes it in the end."""
    stores: list[Store] = []
    real = writer_module.Writer

    def open_small(segment_bytes: int = SMALL, **bounds: float) -> Store:
        monkeypatch.setattr(
            "apm_store.sqlite.store._open_writer",
            lambda data_dir, bounds: real(data_dir, bounds, segment_bytes=segment_bytes),
        )
        stores.append(open_store(tmp_path / "data", retention=Retention(**bounds)))  # type: ignore[arg-type]
        return stores[-1]

    yield open_small
    for store in stores:
        store.close()


def _batch(number: int, count: int = 50, name: str = "GET /", size: int = 32, **overrides: object) -> Batch:
    """One trace of random spans, which compress badly."""
    dice = random.Random(number)
    spans = [
        make_span(
            name,
            trace=number,
            span=number * 1000 + i,
            parent=0 if i == 0 else number * 1000,
            start_ns=YESTERDAY_NS + number * SECOND,
            attributes={"key": dice.randbytes(size).hex()},
            **({"duration_ns": MS, **overrides} if i == 0 else {"duration_ns": MS}),  # type: ignore[arg-type]
        )
        for i in range(count)
    ]
    return make_batch(spans)


def wait_until(is_so: Callable[[], bool]) -> None:
    """Return as soon as something is so; fail after 10 s."""
    tick = threading.Event()
    for _ in range(1_000):
        if is_so():
            return
        tick.wait(0.01)
    raise AssertionError("it did not happen within 10 s")


def _health(store: Store) -> StoreHealth:
    store.stats()
    return store.health()


def _found(store: Store) -> int:
    return store.traces.find(TraceQuery(EVER, limit=10_000)).total


def _pruned(store: Store) -> int:
    return sum(entry.spans for entry in store.health().prunes)


def _freeze(store: Store) -> None:
    """Let what is under way end, and have nothing more removed."""
    upkeep = store._writer._upkeep  # type: ignore[attr-defined]
    upkeep.budget_bytes = 10**12
    checked_s = time.monotonic() + 0.2
    wait_until(lambda: upkeep._task is None and time.monotonic() > checked_s)


def test_the_oldest_segments_go_when_the_budget_is_exceeded(opened: Callable[..., Store], tmp_path: Path) -> None:
    """Of a stream of traces the newest stay, the directory fits the budget, and every span is accounted for."""
    budget = 1_500_000
    store = opened(budget_bytes=budget)
    for number in range(1, 301):
        store.traces.write(_batch(number))
    wait_until(lambda: bytes_on_disk(tmp_path / "data") <= budget)

    wait_until(lambda: store.stats().spans == _found(store) * 50)
    wait_until(lambda: store.stats().spans + _pruned(store) == 300 * 50)
    health = _health(store)
    assert store.traces.get(f"{300:032x}")
    assert health.budget_bytes == budget
    assert {entry.reason for entry in health.prunes} == {"size"}
    assert health.stored["traces"] == 300 * 50
    assert health.raw_since_ns == store.traces.coverage(EVER).raw_since_ns
    assert sum(row.count for row in store.traces.aggregate(SpanAggregate(EVER, entry_only=False))) == 300 * 50
    assert not list((tmp_path / "data" / "segments").glob("dropped-*"))


def test_removal_survives_a_restart(opened: Callable[..., Store], tmp_path: Path) -> None:
    """After a prune and a restart the same is found, the same is counted, and the log goes on."""
    store = opened()
    for number in range(1, 21):
        store.traces.write(_batch(number))
    store.prune(to_bytes=bytes_on_disk(tmp_path / "data") * 2 // 3)
    before = store.stats().spans
    store.close()

    store = opened()
    store.traces.write(_batch(100))

    assert store.stats().spans == before + 50
    assert store.traces.get(f"{100:032x}")
    assert 0 < before < 20 * 50


def test_all_raw_data_can_be_removed(opened: Callable[..., Store], tmp_path: Path) -> None:
    """Asked to remove everything that was received until now, the store ends its segment and drops that too."""
    store = opened(segment_bytes=1 << 30)
    store.traces.write(_batch(1))
    store.traces.write(_batch(2))

    entry = store.prune(before_ns=2**62)

    assert entry is not None
    assert (entry.reason, entry.spans, entry.first_ns, entry.last_ns) == (
        "request",
        100,
        YESTERDAY_NS + SECOND,
        YESTERDAY_NS + 2 * SECOND,
    )
    assert store.stats().spans == 0
    assert store.traces.get(f"{1:032x}") == []
    assert sum(row.count for row in store.traces.aggregate(SpanAggregate(EVER, entry_only=False))) == 100
    assert store.prune(before_ns=2**62) is None
    store.traces.write(_batch(3))
    assert store.stats().spans == 50
    store.close()
    store = opened()
    assert store.stats().spans == 50
    store.traces.write(_batch(4))
    assert store.stats().spans == 100


def test_a_prune_must_say_what(opened: Callable[..., Store]) -> None:
    """Without a bound nothing is removed."""
    store = opened()

    with pytest.raises(StoreError, match="Say what to remove"):
        store.prune()


def test_what_is_older_than_the_limit_goes(
    opened: Callable[..., Store], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Age counts from the receipt, and only once the clock can be relied on."""
    store = opened(max_age_s=0.2)
    for number in range(1, 4):
        store.traces.write(_batch(number, count=200))
    threading.Event().wait(0.5)
    early = segment_ids(tmp_path / "data")

    monkeypatch.setattr("apm_store.sqlite.steady_clock.SETTLE_S", 0.0)
    wait_until(lambda: len(segment_ids(tmp_path / "data")) == 1)

    wait_until(lambda: any(entry.reason == "age" for entry in _health(store).prunes))
    assert len(early) > 1


def test_late_data_is_not_old(opened: Callable[..., Store], monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans of long before the age limit that arrive now stay as long as what happens now; so do their statistics."""
    monkeypatch.setattr("apm_store.sqlite.steady_clock.SETTLE_S", 0.0)
    store = opened(max_age_s=3_600, segment_bytes=1)
    spans = [
        make_span("GET /", trace=days, start_ns=time.time_ns() - days * 86_400 * SECOND) for days in (1, 40, 500, 5_000)
    ]
    for span in spans:
        store.traces.write(make_batch([span]))
    _check(store)

    assert _found(store) == 4
    assert sum(row.count for row in store.traces.aggregate(SpanAggregate(EVER))) == 4
    assert _health(store).prunes == ()


def _check(store: Store) -> None:
    """Have the bounds looked at once more."""
    upkeep = store._writer._upkeep  # type: ignore[attr-defined]
    due_s = upkeep._due_s
    wait_until(lambda: upkeep._due_s > due_s and upkeep._task is None)


def test_a_clock_that_is_put_forward_makes_nothing_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """A year on the machine's clock is no year while we run; put back, it is believed."""
    clock = SteadyClock()
    now_ns = clock.now_ns()
    real = retention_module.time.time_ns
    year_ns = 365 * 86_400 * SECOND

    monkeypatch.setattr("apm_store.sqlite.steady_clock.time.time_ns", lambda: real() + year_ns)
    forward = clock.now_ns() - now_ns
    monkeypatch.setattr("apm_store.sqlite.steady_clock.time.time_ns", lambda: real() - year_ns)
    back = clock.now_ns() - now_ns

    assert 0 <= forward < 60 * SECOND
    assert back < -year_ns + 60 * SECOND


def test_notable_traces_outlive_their_segment(opened: Callable[..., Store], tmp_path: Path) -> None:
    """The failed, the slowest and the rare ones are found by id and by search when the rest is gone."""
    budget = 5_000_000
    store = opened(segment_bytes=500_000, budget_bytes=budget)
    for number in range(1, 501):
        special: dict[str, object] = {}
        if number == 3:
            special = {"failed": True}
        elif number == 4:
            special = {"duration_ns": 9 * SECOND}
        name = "rare" if number == 5 else "GET /"
        store.traces.write(_batch(number, name=name, size=200, **special))
    wait_until(lambda: bytes_on_disk(tmp_path / "data") <= budget)
    _freeze(store)

    health = _health(store)
    found = {number: len(store.traces.get(f"{number:032x}")) for number in (3, 4, 5)}
    listed = {int(trace.trace_id, 16) for trace in store.traces.find(TraceQuery(EVER, limit=1000)).traces}
    rare = store.traces.find(TraceQuery(EVER, operation="rare"))
    slow = store.traces.find(TraceQuery(EVER, min_duration_ns=SECOND))
    assert found == {3: 50, 4: 50, 5: 50}
    assert {3, 4, 5} <= listed
    assert [int(trace.trace_id, 16) for trace in rare.traces] == [5]
    assert [int(trace.trace_id, 16) for trace in slow.traces] == [4]
    assert sum(entry.kept_traces for entry in health.prunes) > 0
    assert store.stats().spans == 50 * len(listed)
    kept = sum(p.stat().st_size for p in (tmp_path / "data" / "segments").glob("kept-*/*"))
    assert 0 < kept <= budget // 10
    bodies = list(store.bodies(Signal.TRACES, EVER))
    assert bodies


def test_the_log_records_of_kept_traces_are_kept(
    opened: Callable[..., Store], tmp_path: Path, make_logs: Callable[..., Batch]
) -> None:
    """Those of the failed trace are found by its id when those of its neighbours are gone, and are accounted for."""
    budget = 5_000_000
    store = opened(segment_bytes=500_000, budget_bytes=budget)
    for number in range(1, 501):
        store.traces.write(_batch(number, size=200, failed=number == 3))
        at_ns = YESTERDAY_NS + number * SECOND
        pairs = [(number, "its own"), (number, "again"), (0, "of no trace")]
        store.logs.write(
            make_logs(
                LogRecord(
                    time_unix_nano=at_ns + place,
                    trace_id=trace.to_bytes(16, "big") if trace else b"",
                    body={"string_value": text},
                )
                for place, (trace, text) in enumerate(pairs)
            )
        )
    wait_until(lambda: bytes_on_disk(tmp_path / "data") <= budget)
    _freeze(store)

    found = [record.body for record in store.logs.find(LogQuery(trace_id=f"{3:032x}"))]
    left = store.logs.find(LogQuery(EVER, limit=2_000))
    traces = {trace.trace_id for trace in store.traces.find(TraceQuery(EVER, limit=1_000)).traces}
    stats, health = store.stats(), _health(store)
    assert found == ["again", "its own"]
    assert {record.trace_id for record in left} >= traces
    assert stats.log_records == len(left) < 1_500
    assert sum(entry.log_records for entry in health.prunes) == 1_500 - len(left)


def test_log_records_take_no_more_than_what_spans_leave(
    opened: Callable[..., Store], tmp_path: Path, make_logs: Callable[..., Batch]
) -> None:
    """A kept trace that logged without end does not fill the kept segment."""
    store = opened(segment_bytes=500_000, budget_bytes=5_000_000)
    store.traces.write(_batch(1, failed=True))
    dice = random.Random(1)
    for number in range(500):
        text = dice.randbytes(10_000).hex()
        store.logs.write(make_logs([LogRecord(time_unix_nano=number + 1, trace_id=_ID, body={"string_value": text})]))
    wait_until(lambda: bytes_on_disk(tmp_path / "data") <= 5_000_000)
    _freeze(store)

    kept = sum(path.stat().st_size for path in (tmp_path / "data" / "segments").glob("kept-*/bodies.log"))

    assert len(store.traces.get(_ID.hex())) == 50
    assert 0 < len(store.logs.find(LogQuery(TimeRange(0, 40)))) < 40
    assert kept <= 100_000


_ID = (1).to_bytes(16, "big")


def test_metrics_without_any_point_are_not_listed(
    opened: Callable[..., Store], make_gauge: Callable[..., Batch], tmp_path: Path
) -> None:
    """A metric goes with its last segment; when it comes again it is found again, as are those that stayed."""
    store = opened(segment_bytes=1)
    store.metrics.write(make_gauge([(1, 1.0, "a")], name="gone"))
    store.metrics.write(make_gauge([(2, 1.0, "a"), (2, 2.0, "b")], name="both"))
    store.stats()
    since_ns = time.time_ns()
    store.metrics.write(make_gauge([(3, 1.0, "a")], name="both"))
    store.metrics.write(make_gauge([(3, 1.0, "a")], name="new"))
    before = store.metrics.names()

    store.prune(before_ns=since_ns)

    wait_until(lambda: store.metrics.names() == ["both", "new"])
    assert before == ["both", "gone", "new"]
    assert _streams(tmp_path) == 2
    store.metrics.write(make_gauge([(4, 7.0, "a"), (4, 8.0, "b")], name="gone"))
    assert store.metrics.names() == ["both", "gone", "new"]
    [metric] = store.metrics.find(MetricQuery("gone", EVER)).metrics
    assert [point.value for point in metric.points] == [7.0, 8.0]
    assert len(store.metrics.series(MetricSeriesQuery("both", EVER, SECOND)).series) == 1


def test_streams_left_over_by_a_kill_are_forgotten_by_the_next_start(
    opened: Callable[..., Store], make_gauge: Callable[..., Batch], tmp_path: Path
) -> None:
    """Nobody but the segments says which streams there are."""
    store = opened()
    store.metrics.write(make_gauge([(1, 1.0, "a")], name="here"))
    store.close()
    with sqlite3.connect(tmp_path / "data" / "spanwise.db") as connection:
        connection.execute("INSERT INTO metric_stream (digest, service_id, name) VALUES (x'00', 1, 'nowhere')")
    connection.close()

    again = opened()

    wait_until(lambda: again.metrics.names() == ["here"])


def _streams(tmp_path: Path) -> int:
    connection = sqlite3.connect(tmp_path / "data" / "spanwise.db")
    [(count,)] = connection.execute("SELECT count(*) FROM metric_stream").fetchall()
    connection.close()
    return int(count)


def test_kept_traces_survive_the_loss_of_every_index(opened: Callable[..., Store], tmp_path: Path) -> None:
    """With the catalogue and the indexes gone, kept traces are found as before."""
    store = opened(segment_bytes=500_000, budget_bytes=5_000_000)
    for number in range(1, 501):
        store.traces.write(_batch(number, size=200, failed=number == 3))
    wait_until(lambda: bytes_on_disk(tmp_path / "data") <= 5_000_000)
    _freeze(store)
    held = store.stats().spans
    assert list((tmp_path / "data" / "segments").glob("kept-*"))
    store.close()
    (tmp_path / "data" / "spanwise.db").unlink()
    for index in (tmp_path / "data" / "segments").glob("*/index.db"):
        index.unlink()

    store = opened(segment_bytes=500_000)

    assert len(store.traces.get(f"{3:032x}")) == 50
    assert store.stats().spans == held


def test_a_removal_that_was_broken_off_is_ended(opened: Callable[..., Store], tmp_path: Path) -> None:
    """Killed after the directory got its other name, the next start strikes it from the list and notes it."""
    store = opened()
    for number in range(1, 11):
        store.traces.write(_batch(number))
    store.close()
    first = segment_ids(tmp_path / "data")[0]
    mark_dropped(SegmentFiles(tmp_path / "data", first), "size")

    store = opened()

    health = _health(store)
    assert [entry.reason for entry in health.prunes] == ["size"]
    assert store.stats().spans + health.prunes[0].spans == 500
    assert not list((tmp_path / "data" / "segments").glob("dropped-*"))


def test_a_segment_that_somebody_removed_is_said(opened: Callable[..., Store], tmp_path: Path) -> None:
    """A directory that is gone at a start is struck from the list, with a notice."""
    store = opened()
    for number in range(1, 11):
        store.traces.write(_batch(number))
    store.close()
    shutil.rmtree(SegmentFiles(tmp_path / "data", segment_ids(tmp_path / "data")[0]).directory)

    store = opened()

    health = _health(store)
    assert "removed by somebody else" in health.notices[0].text
    assert store.stats().spans < 500


def test_a_store_without_any_segment_goes_on(opened: Callable[..., Store], tmp_path: Path) -> None:
    """Numbers of segments are not given again, so what comes then is counted and found."""
    store = opened()
    store.traces.write(_batch(1))
    store.close()
    shutil.rmtree(tmp_path / "data" / "segments")

    store = opened()
    store.traces.write(_batch(2))

    assert store.traces.get(f"{2:032x}")
    assert store.stats().spans == 50


def test_readers_do_not_hold_the_space_of_what_was_removed(
    opened: Callable[..., Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reading store lets go of the files of dropped segments with its next question."""
    monkeypatch.setattr("apm_store.sqlite.segment_reader.SWEEP_S", 0.0)
    store = opened()
    for number in range(1, 11):
        store.traces.write(_batch(number))
    store.stats()
    reading = open_store(tmp_path / "data", read_only=True)
    reading.traces.find(TraceQuery(EVER))
    store.prune(to_bytes=0)
    store.traces.write(_batch(20))
    store.stats()

    reading.traces.find(TraceQuery(EVER))

    links = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    reading.close()
    assert [link for link in links if "index.db" in link and "deleted" in link] == []


@pytest.mark.parametrize("step", ["mark_dropped", "rmtree", "set_kept", "commit"])
def test_a_fault_while_removing_loses_nothing_else(
    opened: Callable[..., Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Whatever step fails, it is done again, and spans are counted right."""
    monkeypatch.setattr("apm_store.sqlite.indexer._RETRY_S", 0.01)
    owner = {
        "mark_dropped": retention_module,
        "rmtree": retention_module.shutil,
        "set_kept": Catalogue,
        "commit": KeptSegment,
    }[step]
    real = getattr(owner, step)
    faults = [OSError(5, "Input/output error")]

    def fail(*values: object) -> object:
        if faults:
            raise faults.pop()
        return real(*values)

    monkeypatch.setattr(owner, step, fail)
    store = opened(segment_bytes=50_000, budget_bytes=1_500_000)
    for number in range(1, 301):
        store.traces.write(_batch(number, failed=number % 50 == 0))
    wait_until(lambda: not faults and bytes_on_disk(tmp_path / "data") <= 1_500_000)

    wait_until(lambda: store.stats().spans == _found(store) * 50)
    wait_until(lambda: store.stats().spans + _pruned(store) == 300 * 50)


SENDER = """
import sys
from pathlib import Path
from apm_store.query import Retention
from apm_store.sqlite import retention
from apm_store.sqlite.writer import Writer
from builders import make_batch, make_span
import random
retention.CHECK_S = 0.05
number = int(sys.argv[2])
writer = Writer(Path(sys.argv[1]), Retention(budget_bytes=1_500_000), segment_bytes=50_000)
while True:
    dice = random.Random(number)
    writer.write(make_batch(
        make_span("GET /", trace=number, span=number * 1000 + i, failed=number % 20 == 0,
                  attributes={"key": dice.randbytes(32).hex()})
        for i in range(50)
    ))
    print(number, flush=True)
    number += 1
"""


def test_kill_9_while_raw_data_is_removed(tmp_path: Path) -> None:
    """A writer that is killed again and again while it drops segments keeps its books, and the newest data."""
    root = Path(__file__).parents[3]
    environment = {"PYTHONPATH": f"{root}:{root / 'tests'}"}
    dice = random.Random(3)
    acknowledged = 0
    for _ in range(5):
        command = [sys.executable, "-c", SENDER, str(tmp_path / "data"), str(acknowledged + 1_000)]
        with subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True) as sender:
            assert sender.stdout is not None
            most = acknowledged + 1_000 + dice.randrange(150, 400)
            for line in sender.stdout:
                acknowledged = int(line)
                if acknowledged >= most:
                    break
            sender.kill()
            acknowledged = max([acknowledged, *map(int, sender.stdout.read().split())])

        store = open_store(tmp_path / "data", retention=Retention(budget_bytes=10**12))
        health = _health(store)
        held, found, newest = store.stats().spans, _found(store), store.traces.get(f"{acknowledged:032x}")
        store.close()
        copies = held - found * 50  # notable traces of a segment that was not dropped yet are there twice
        assert 0 <= copies <= 5 * 50
        assert len(newest) == 50
        assert held - copies + sum(entry.spans for entry in health.prunes) == health.stored["traces"]
        assert not list((tmp_path / "data" / "segments").glob("dropped-*"))
        assert [notice for notice in health.notices if notice.state == "critical"] == []


def test_old_rollups_go_and_their_space_comes_back(
    opened: Callable[..., Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Roll-ups stay as long as there is raw data for them; then minutes go after 35 days, hours after 13 months."""
    store = opened()
    for number in range(1, 40):
        start_ns = number * 60 * SECOND
        spans = [make_span(f"op {i}", span=number * 1000 + i, start_ns=start_ns) for i in range(200)]
        store.traces.write(make_batch(spans))
    store.stats()
    threading.Event().wait(0.2)
    catalogue = tmp_path / "data" / "spanwise.db"
    before = _count(catalogue, "span_rollup")
    size = _count(catalogue, "pragma_page_count", "sum(page_count)")

    store.prune(before_ns=2**62)
    store.traces.write(make_batch([make_span("GET /", trace=7, start_ns=SECOND)]))

    wait_until(lambda: _count(catalogue, "span_rollup") <= 4)
    wait_until(lambda: _count(catalogue, "service_rollup") <= 4)
    wait_until(lambda: _count(catalogue, "pragma_page_count", "sum(page_count)") < size - 1000 or size < 1200)
    wait_until(lambda: _count(catalogue, "minute") == 1)
    assert before == 200 * 39 + 200


def _count(path: Path, table: str, what: str = "count(*)") -> int:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    count: int = connection.execute(f"SELECT {what} FROM {table}").fetchone()[0]
    connection.close()
    return count


def test_the_log_of_a_segment_follows_the_budget(tmp_path: Path) -> None:
    """Small budgets make small segments, within limits."""
    sizes = []
    for budget in (1_000, 640_000_000, 10**12):
        writer = writer_module.Writer(tmp_path / str(budget), Retention(budget_bytes=budget))
        sizes.append(writer._segment_bytes)
        writer.close()

    assert sizes == [8 * 1024 * 1024, 20_000_000, writer_module.SEGMENT_BYTES]
