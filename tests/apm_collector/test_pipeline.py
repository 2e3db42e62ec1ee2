"""Building pipelines."""

from __future__ import annotations

from collections.abc import Callable

from builders import make_batch, make_span

from apm_collector.pipeline import Consumer, build_pipeline
from apm_store.model import Batch


class _Noting:
    """A Consumer that notes its name when a batch passes, and hands on."""

    def __init__(self, name: str, notes: list[str], following: Consumer | None = None) -> None:
        self.name, self.notes, self.following = name, notes, following

    def consume(self, batch: Batch) -> None:
        self.notes.append(self.name)
        if self.following is not None:
            self.following.consume(batch)


def test_processors_see_a_batch_in_their_order_and_the_exporter_last() -> None:
    """The list of processors reads as the way of a batch."""
    notes: list[str] = []

    def processor(name: str) -> Callable[[Consumer], Consumer]:
        return lambda following: _Noting(name, notes, following)

    build_pipeline([processor("first"), processor("second")], _Noting("exporter", notes)).consume(
        make_batch([make_span("op")])
    )

    assert notes == ["first", "second", "exporter"]


def test_without_processors_the_exporter_is_the_pipeline() -> None:
    """Nothing stands between receiver and exporter that was not asked for."""
    exporter = _Noting("exporter", [])

    assert build_pipeline([], exporter) is exporter
