"""Nothing that was acknowledged is lost when every process is killed."""

from __future__ import annotations

import random
import sqlite3
import threading
from pathlib import Path

import pytest
from builders import SECOND, make_request, make_span
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from stack import Stack, fetch

from apm_store.model import Signal
from apm_store.open import open_store
from apm_store.query import TimeRange

pytestmark = pytest.mark.timeout(180)
ROUNDS = 4
START_NS = 1_764_000_000 * SECOND


class Sender(threading.Thread):
    """Sends one span per request until it is refused; `acknowledged` holds the traces that were answered 200."""

    def __init__(self, stack: Stack, first: int) -> None:
        super().__init__(daemon=True)
        self.stack, self.first = stack, first
        self.acknowledged: list[int] = []

    def run(self) -> None:
        """Send until the stack is gone."""
        for number in range(self.first, self.first + 100_000):
            span = make_span("GET /", trace=number, start_ns=START_NS)
            try:
                status, _ = self.stack.send("traces", make_request([span]).SerializeToString())
            except OSError:
                return
            if status == 200:
                self.acknowledged.append(number)


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Killed at random moments under load, every acknowledged trace is there after the next start, the file sound."""
    acknowledged: list[int] = []
    dice = random.Random(7)
    for round_number in range(ROUNDS):
        stack = Stack(tmp_path / "data").start()
        senders = [Sender(stack, first=(round_number * 4 + lane) * 100_000 + 1) for lane in range(4)]
        for sender in senders:
            sender.start()
        threading.Event().wait(dice.uniform(0.2, 0.9))
        stack.kill()
        for sender in senders:
            sender.join(10)
            acknowledged += sender.acknowledged

    with Stack(tmp_path / "data").start() as stack:
        answers = [fetch(f"{stack.ui}/api/v1/traces/{number:032x}")[0] for number in acknowledged[-200:]]
    databases = sorted((tmp_path / "data").rglob("*.db"))
    for path in databases:
        with sqlite3.connect(path) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store = open_store(tmp_path / "data", read_only=True)
    stored = {
        span.trace_id
        for body in store.bodies(Signal.TRACES, TimeRange(0, 2**63))
        for span in ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans
    }
    store.close()

    assert len(databases) >= 2
    assert len(acknowledged) > 100
    assert set(answers) == {200}
    assert {number.to_bytes(16, "big") for number in acknowledged} <= stored
