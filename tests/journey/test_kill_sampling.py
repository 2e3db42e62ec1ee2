"""Spans that wait for a sampling decision outlive a kill of every process."""

from __future__ import annotations

import threading
from pathlib import Path

import orjson
import pytest
from builders import SECOND, make_request, make_span
from stack import Stack, fetch, wait_for

from apm_store.open import open_store

pytestmark = pytest.mark.timeout(180)
START_NS = 1_764_000_000 * SECOND
CONFIG = """
receivers: {otlp: {protocols: {http: {}, grpc: {}}}}
processors:
  tail_sampling:
    decision_wait: WAIT
    policies: [{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}]
exporters: {store: {}}
service: {pipelines: {traces: {receivers: [otlp], processors: [tail_sampling], exporters: [store]}}}
"""


class Sender(threading.Thread):
    """Sends traces of one span, every second one failed, until it is refused; notes those answered 200."""

    def __init__(self, stack: Stack, first: int) -> None:
        super().__init__(daemon=True)
        self.stack, self.first = stack, first
        self.acknowledged: list[int] = []

    def run(self) -> None:
        """Send until the stack is gone."""
        for number in range(self.first, self.first + 100_000):
            span = make_span("GET /", trace=number, start_ns=START_NS, failed=number % 2 == 0)
            try:
                status, _ = self.stack.send("traces", make_request([span]).SerializeToString())
            except OSError:
                return
            if status == 200:
                self.acknowledged.append(number)


def _counts(stack: Stack) -> dict[str, dict]:
    return orjson.loads(fetch(stack.otlp + "/healthz")[1])["counts"]["traces"]


def test_kill_9_loses_nothing_that_waits_for_a_decision(tmp_path: Path) -> None:
    """Killed while spans wait and while they are decided, each acknowledged one is stored or dropped by the sampler."""
    config, data_dir = tmp_path / "collector.yaml", tmp_path / "data"
    ledger: list[list[int]] = []
    for round_number, wait in enumerate(("10m", "100ms")):  # at the second kill the first one's spans are decided
        config.write_text(CONFIG.replace("WAIT", wait), "utf-8")
        stack = Stack(data_dir, "--config", str(config)).start()
        senders = [Sender(stack, first=(round_number * 4 + lane) * 100_000 + 1) for lane in range(4)]
        for sender in senders:
            sender.start()
        threading.Event().wait(1.0)
        stack.kill()
        for sender in senders:
            sender.join(10)
        ledger.append([number for sender in senders for number in sender.acknowledged])

    with Stack(data_dir, "--config", str(config)).start() as stack:
        wait_for(lambda: _counts(stack)["pending"] == 0, 20, "everything is decided")
        counts = _counts(stack)
    store = open_store(data_dir)
    acknowledged = [number for numbers in ledger for number in numbers]
    lost = [number for number in acknowledged if number % 2 == 0 and not store.traces.get(f"{number:032x}")]
    kept = [number for number in acknowledged if number % 2 and store.traces.get(f"{number:032x}")]
    store.close()

    assert all(len(numbers) > 20 for numbers in ledger)
    assert (lost, kept) == ([], [])
    assert counts["received"] == counts["accepted"] + counts["dropped"].get("tail_sampling: not sampled", 0)


def test_what_a_killed_sampler_held_is_counted_in_full(tmp_path: Path) -> None:
    """After a kill in the middle of the wait, the next process receives at least all that was acknowledged."""
    config, data_dir = tmp_path / "collector.yaml", tmp_path / "data"
    config.write_text(CONFIG.replace("WAIT", "10m"), "utf-8")
    stack = Stack(data_dir, "--config", str(config)).start()
    sender = Sender(stack, first=1)
    sender.start()
    threading.Event().wait(1.0)
    stack.kill()
    sender.join(10)
    config.write_text(CONFIG.replace("WAIT", "100ms"), "utf-8")

    with Stack(data_dir, "--config", str(config)).start() as stack:
        wait_for(lambda: _counts(stack)["pending"] == 0, 20, "everything is decided")
        counts = _counts(stack)

    failed = sum(number % 2 == 0 for number in sender.acknowledged)
    assert failed > 10
    assert counts["accepted"] >= failed
    assert counts["dropped"]["tail_sampling: not sampled"] >= len(sender.acknowledged) - failed
    assert len(sender.acknowledged) <= counts["received"] <= len(sender.acknowledged) + 1
