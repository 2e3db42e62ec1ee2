"""From a receiver to an exporter: what a Consumer is, and how a pipeline of them is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from apm_store.model import Batch


class Consumer(Protocol):
    """Takes batches. A processor is a Consumer that was given the next one; an exporter is the last one."""

    def consume(self, batch: Batch) -> None:
        """Take a batch; returns when it is done with, MAY block, and MUST be safe from many threads.

        Raises PermanentError (do not send this batch again) or TransientError (send it again later).
        """
        ...


Processor = Callable[[Consumer], Consumer]
"""Makes a Consumer that hands on to the given one."""

PROCESSORS: Mapping[str, Processor] = {}


def build_pipeline(processors: Sequence[Processor], exporter: Consumer) -> Consumer:
    """Chain processors, in the order in which they see a batch, onto an exporter; gives the first Consumer."""
    consumer = exporter
    for processor in reversed(processors):
        consumer = processor(consumer)
    return consumer
