"""From a receiver to an exporter: what a Consumer is, and how a pipeline of them is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from apm_store.model import Batch, Signal


class Consumer(Protocol):
    """Takes batches. A processor is a Consumer that was given the following one; an exporter is the last one."""

    def consume(self, batch: Batch) -> None:
        """Take a batch; returns when it is done with.

        MAY block, MAY change the batch's request, MUST be safe from many threads.
        Raises PermanentError (do not send this batch again) or TransientError (send it again later).
        """
        ...


@runtime_checkable
class Lifecycle(Protocol):
    """What a Consumer has that works in the background too."""

    def start(self) -> None:
        """Begin; `consume` MUST work before that as well."""
        ...

    def stop(self) -> None:
        """Hand on what is held, and end; MUST be safe before start and more than once. `consume` MUST work after it."""
        ...


class OnDropped(Protocol):
    """Told what a processor lets go, so that the counts add up."""

    def __call__(self, signal: Signal, reason: str, items: int) -> None:
        """Count dropped items; `reason` is `<component id>: <why>`, of few and fixed words. Safe from many threads."""
        ...


@dataclass(frozen=True, slots=True)
class ProcessorSettings:
    """What a processor is given besides its configuration.

    `spool_dir` is a directory for what must outlive the process; it need not exist yet. `on_replayed` is told of
    items that an earlier process took and this one works on.
    """

    on_dropped: OnDropped
    spool_dir: Path
    on_replayed: Callable[[Signal, int], None] = lambda _signal, _items: None


class ProcessorConfig(Protocol):
    """The configuration of a processor, which knows how to build it."""

    def build(self, following: Consumer, component_id: str, settings: ProcessorSettings) -> Consumer:
        """A processor that hands on to the following Consumer."""
        ...


class Pipeline:
    """The Consumers of one signal in a row; itself one."""

    def __init__(self, consumers: Sequence[Consumer]) -> None:
        """Take the Consumers in the order in which a batch passes them, each of which knows the one that follows."""
        self._first = consumers[0]
        self._living = [one for one in consumers if isinstance(one, Lifecycle)]

    def consume(self, batch: Batch) -> None:
        """Take a batch through; raises PermanentError or TransientError."""
        self._first.consume(batch)

    def start(self) -> None:
        """Begin, the last first, so that what is handed on finds the way open."""
        for one in reversed(self._living):
            one.start()

    def stop(self) -> None:
        """Hand on what is held and end, the first first; safe before start and more than once."""
        for one in self._living:
            one.stop()


def build_pipeline(
    component_ids: Sequence[str],
    configs: Mapping[str, ProcessorConfig],
    exporter: Consumer,
    settings: ProcessorSettings,
) -> Pipeline:
    """Chain processors, in the order in which they see a batch, onto an exporter, whose life is its owner's matter."""
    following = exporter
    processors: list[Consumer] = []
    for component_id in reversed(component_ids):
        processor = configs[component_id].build(following, component_id, settings)
        if processor is not following:  # one that is switched off
            processors.insert(0, processor)
        following = processor
    return Pipeline(processors or [exporter])
