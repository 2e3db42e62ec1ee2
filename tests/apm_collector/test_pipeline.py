"""Building pipelines."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import make_batch, make_span

from apm_collector.errors import TransientError
from apm_collector.pipeline import Consumer, ProcessorSettings, build_pipeline
from apm_store.model import Batch

SETTINGS = ProcessorSettings(lambda signal, reason, items: None, Path("unused"))


class _Noting:
    """A Consumer with a life that notes its name when something happens to it, and hands on."""

    def __init__(self, name: str, notes: list[str], following: Consumer | None = None) -> None:
        self.name, self.notes, self.following = name, notes, following

    def consume(self, batch: Batch) -> None:
        self.notes.append(self.name)
        if self.following is not None:
            self.following.consume(batch)

    def start(self) -> None:
        self.notes.append(f"{self.name} starts")

    def stop(self) -> None:
        self.notes.append(f"{self.name} stops")


class _Config:
    """Builds a `_Noting` named after its component."""

    def __init__(self, notes: list[str], *, is_on: bool = True) -> None:
        self.notes, self.is_on = notes, is_on

    def build(self, following: Consumer, component_id: str, settings: ProcessorSettings) -> Consumer:
        return _Noting(component_id, self.notes, following) if self.is_on else following


def test_processors_see_a_batch_in_their_order_and_the_exporter_last() -> None:
    """The list of processors reads as the way of a batch; one that is off is no part of it."""
    notes: list[str] = []
    configs = {"first": _Config(notes), "off": _Config(notes, is_on=False), "second": _Config(notes)}

    pipeline = build_pipeline(["first", "off", "second"], configs, _Noting("exporter", notes), SETTINGS)
    pipeline.consume(make_batch([make_span("op")]))

    assert notes == ["first", "second", "exporter"]


def test_a_pipeline_starts_from_its_end_and_stops_from_its_beginning() -> None:
    """What a processor hands on when it stops still finds the ones behind it; the exporter is not the pipeline's."""
    notes: list[str] = []
    configs = {"first": _Config(notes), "second": _Config(notes)}
    pipeline = build_pipeline(["first", "second"], configs, _Noting("exporter", notes), SETTINGS)

    pipeline.start()
    pipeline.stop()

    assert notes == ["second starts", "first starts", "first stops", "second stops"]


def test_what_the_exporter_raises_reaches_the_receiver() -> None:
    """A pipeline without processors is its exporter; errors pass."""

    class Full:
        def consume(self, batch: Batch) -> None:
            raise TransientError("full")

    with pytest.raises(TransientError, match="full"):
        build_pipeline([], {}, Full(), SETTINGS).consume(make_batch([make_span("op")]))
