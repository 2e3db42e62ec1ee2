"""A Consumer at the end of a processor, which keeps what it gets, and settings that keep what was dropped."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest

from apm_collector.errors import CollectorError
from apm_collector.pipeline import ProcessorSettings
from apm_store.model import Batch, Signal


class Sink:
    """Keeps batches; `error` is raised instead while it is set, and nothing is taken while `gate` is closed."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.error: CollectorError | None = None
        self.gate = threading.Event()
        self.gate.set()

    def consume(self, batch: Batch) -> None:
        self.gate.wait(30)
        if self.error is not None:
            raise self.error
        self.batches.append(batch)

    @property
    def items(self) -> int:
        return sum(batch.item_count for batch in self.batches)

    def spans(self) -> list:
        parsed = [type(batch.request).FromString(batch.body) for batch in self.batches]
        return [
            span
            for one in parsed
            for group in one.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def sink() -> Sink:
    """An end of the pipeline."""
    return Sink()


@pytest.fixture
def dropped() -> Counter[tuple[Signal, str]]:
    """What was dropped, by signal and reason."""
    return Counter()


@pytest.fixture
def settings(dropped: Counter[tuple[Signal, str]], tmp_path: Path) -> ProcessorSettings:
    """Settings that count into `dropped`."""

    def on_dropped(signal: Signal, reason: str, items: int) -> None:
        dropped[signal, reason] += items

    return ProcessorSettings(on_dropped, tmp_path / "spool")
