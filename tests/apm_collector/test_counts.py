"""The counts of a collector."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from builders import make_request, make_span

from apm_collector.config import load_config
from apm_collector.counts import Counts
from apm_collector.errors import DiskFullError, TransientError
from apm_store.api import Store, StoreFullError
from apm_store.model import Batch, Signal

NOTHING = {
    "received": 0,
    "accepted": 0,
    "rejected": {},
    "dropped": {},
    "refused": {},
    "pending": 0,
    "refused_requests": {},
}


def test_every_item_of_a_request_has_one_outcome() -> None:
    """Accepted, rejected and dropped items add up to what was received; signals are apart."""
    counts = Counts()

    with counts.request(Signal.LOGS, 10, {"severity": 3}):
        counts.on_dropped(Signal.LOGS, "filter: debug", 2)
        counts.add_accepted(Signal.LOGS, 5)

    logs = NOTHING | {"received": 10, "accepted": 5, "rejected": {"severity": 3}, "dropped": {"filter: debug": 2}}
    assert counts.snapshot() == {"traces": NOTHING, "metrics": NOTHING, "logs": logs}


def test_what_a_request_gives_back_is_refused_but_what_was_dropped_stays_dropped() -> None:
    """A sender that gets an error has all items again that met no other outcome, invalid ones too."""
    counts = Counts()

    with pytest.raises(DiskFullError), counts.request(Signal.TRACES, 10, {"trace_id": 3}):
        counts.on_dropped(Signal.TRACES, "filter: health", 2)
        raise DiskFullError
    counts.add_refused(Signal.TRACES, DiskFullError.reason)

    refusal = {"refused": {"disk_full": 8}, "refused_requests": {"disk_full": 1}}
    assert counts.snapshot()["traces"] == NOTHING | {"received": 10, "dropped": {"filter: health": 2}} | refusal


def test_a_mistake_of_ours_counts_as_refused_too() -> None:
    """Whatever ends a request, its items do not stay without an outcome."""
    counts = Counts()

    with pytest.raises(ZeroDivisionError), counts.request(Signal.TRACES, 4, {}):
        raise ZeroDivisionError

    assert counts.snapshot()["traces"] == NOTHING | {"received": 4, "refused": {"failure": 4}}


def test_what_is_worked_on_or_held_is_pending() -> None:
    """Items without an outcome are told, within a request and after one whose items another thread will settle."""
    counts = Counts()

    with counts.request(Signal.TRACES, 6, {}):
        within = counts.snapshot()["traces"]["pending"]
        counts.add_accepted(Signal.TRACES, 1)
    held = counts.snapshot()["traces"]["pending"]
    later = threading.Thread(target=counts.on_dropped, args=(Signal.TRACES, "tail_sampling: not chosen", 5))
    later.start()
    later.join()

    assert (within, held, counts.snapshot()["traces"]["pending"]) == (6, 5, 0)


def test_what_an_earlier_process_held_is_received_again() -> None:
    """Items that come back from disk at the start have a place in the sum of this process."""
    counts = Counts()

    counts.on_resumed(Signal.TRACES, 5)
    counts.add_accepted(Signal.TRACES, 3)

    assert counts.snapshot()["traces"] == NOTHING | {"received": 5, "accepted": 3, "pending": 2}


def test_a_merged_batch_that_is_given_back_is_counted_once() -> None:
    """When one thread works on the items of two requests, what it drops and gives back still adds up."""
    counts, goes, fails = Counts(), threading.Event(), threading.Event()

    def follow() -> None:
        with contextlib.suppress(TransientError), counts.request(Signal.TRACES, 10, {}):
            goes.set()
            fails.wait(10)
            raise TransientError

    follower = threading.Thread(target=follow)
    follower.start()
    goes.wait(10)
    with contextlib.suppress(TransientError), counts.request(Signal.TRACES, 10, {}):
        counts.on_dropped(Signal.TRACES, "filter: health", 4)
        raise TransientError
    fails.set()
    follower.join()

    outcomes = {"dropped": {"filter: health": 4}, "refused": {"overload": 16}}
    assert counts.snapshot()["traces"] == NOTHING | {"received": 20} | outcomes


def test_the_sum_holds_at_every_moment() -> None:
    """While threads count, each snapshot adds up with no item too many: pending is never negative."""
    counts, seen = Counts(), []
    threads = [threading.Thread(target=_work, args=(counts, number)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen.append(_sum_of(counts))
    for thread in threads:
        thread.join()

    final = counts.snapshot()["traces"]
    assert all(received == parts and pending >= 0 for received, parts, pending in seen)
    assert (final["received"], final["accepted"], final["pending"]) == (4 * 300 * 10, 4 * 300 * 6 - 4 * 100 * 6, 0)


def _work(counts: Counts, number: int) -> None:
    for turn in range(300):
        with contextlib.suppress(TransientError), counts.request(Signal.TRACES, 10, {"trace_id": 1}):
            counts.on_dropped(Signal.TRACES, f"filter: {number}", 3)
            if turn % 3 == 0:
                raise TransientError
            counts.add_accepted(Signal.TRACES, 6)


def _sum_of(counts: Counts) -> tuple[int, int, int]:
    traces: dict[str, Any] = counts.snapshot()["traces"]
    parts = traces["accepted"] + traces["pending"]
    parts += sum(sum(traces[name].values()) for name in ("rejected", "dropped", "refused"))
    return traces["received"], parts, traces["pending"]


class _StoreFullNowAndThen:
    """A real store whose every third write meets a full disk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._writes = 0
        self.traces = self
        self.metrics, self.logs = store.metrics, store.logs

    def write(self, batch: Batch) -> None:
        with self._lock:
            self._writes += 1
            is_full = self._writes % 3 == 0
        if is_full:
            raise StoreFullError
        self._store.traces.write(batch)

    def health(self) -> Any:
        return self._store.health()


CONFIG = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:0"}}, grpc: {{endpoint: "127.0.0.1:0"}}}}}}}}
processors:
  filter: {{traces: {{span: ['name == "drop"']}}}}
  batch: {{timeout: 20ms}}
exporters: {{store: }}
service: {{pipelines: {{traces: {{receivers: [otlp], processors: [{processors}], exporters: [store]}}}}}}
"""


@pytest.mark.parametrize("processors", ["", "filter", "filter, batch", "batch, filter"])
def test_what_senders_are_told_is_what_is_counted(
    start: Callable[..., Any], store: Store, tmp_path: Path, processors: str
) -> None:
    """Eight senders at once over both protocols, invalid spans, a filter, a full disk, nonsense: all sums are exact."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(processors=processors))
    live = start(_StoreFullNowAndThen(store), load_config(path, {}).listening_on("127.0.0.1", 0, 0))

    with ThreadPoolExecutor(8) as senders:
        told = [sum(column) for column in zip(*senders.map(lambda n: _send_all(live, n), range(8)), strict=True)]
    taken, given_back, unusable = told
    traces, health = live.collector.counts()["traces"], store.health()

    filtered = 1 if "filter" in processors else 0
    assert taken + given_back == 8 * 24
    assert given_back > 0
    assert traces["received"] == 6 * 8 * 24
    assert traces["accepted"] == (5 - filtered) * taken
    assert sum(traces["rejected"].values()) == taken
    assert sum(traces["dropped"].values()) == filtered * (taken + given_back)
    assert traces["refused"] == {"disk_full": (6 - filtered) * given_back}
    assert traces["pending"] == 0
    assert traces["refused_requests"] == {"disk_full": given_back, "undecodable": unusable}
    parts = health.stored["traces"] + health.duplicates["traces"] + health.waiting["traces"]
    assert health.accepted["traces"] == parts == traces["accepted"]


def _send_all(live: Any, sender: int) -> tuple[int, int, int]:
    """Send 24 requests of four good spans, one to drop and one invalid, and nonsense; how many had which answer."""
    answers = [_send(live, _request(1 + sender * 100 + number), is_grpc=number % 4 == 0) for number in range(24)]
    nonsense = [live.send(Signal.TRACES, b"<html>").status for _ in range(4)]
    assert nonsense == [400] * 4
    return answers.count(True), answers.count(False), 4


def _request(trace: int) -> bytes:
    spans = [make_span("drop" if n == 5 else "op", trace=trace, span=n) for n in range(6)]  # a span id of 0 is invalid
    return make_request(spans).SerializeToString()


def _send(live: Any, body: bytes, *, is_grpc: bool) -> bool:
    """Whether a request was taken; the only other answer is to send it again."""
    if not is_grpc:
        status = live.send(Signal.TRACES, body).status
        assert status in {200, 503}
        return bool(status == 200)
    try:
        live.export(Signal.TRACES, body)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        return False
    return True
