"""The `batch` processor: merges batches that arrive at the same time, and returns when the merged one is done with."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from apm_collector.config_keys import ConfigKeyError, Keys
from apm_collector.errors import CollectorError, TransientError
from apm_collector.items import merged_batch
from apm_collector.pipeline import Consumer, ProcessorSettings
from apm_store.model import Batch, Signal

KEYS = {
    "timeout": "how long a batch waits at most for others to be merged with",
    "send_batch_size": "items that end the wait at once",
    "send_batch_max_size": "most items of a merged batch, 0 for no bound; a request that is larger stays whole",
}
SIGNALS = tuple(Signal)


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """How long and how much is gathered; a bound of 0 items is none."""

    timeout_s: float
    send_batch_size: int
    send_batch_max_size: int

    def build(self, following: Consumer, _component_id: str, _settings: ProcessorSettings) -> Consumer:
        """The processor."""
        return BatchProcessor(self, following)


def read_config(value: Any, path: str) -> BatchConfig:
    """The processor's section; raises ConfigKeyError."""
    keys = Keys(value, path, KEYS)
    size = keys.integer("send_batch_size", 8192, 1, 1_000_000)
    largest = keys.integer("send_batch_max_size", 0, 0, 1_000_000)
    if largest and largest < size:
        raise ConfigKeyError(
            f"{path}.send_batch_max_size", f"it must not be less than send_batch_size, which is {size}"
        )
    return BatchConfig(keys.duration_s("timeout", "200ms", low="0s", high="5s"), size, largest)


@dataclass(slots=True, eq=False)
class _Group:
    """Batches of one signal to be merged; the thread that brought the first one consumes for all."""

    batches: list[Batch] = field(default_factory=list)
    items: int = 0
    is_open: bool = True
    is_done: threading.Event = field(default_factory=threading.Event)
    error: CollectorError | None = None

    def add(self, batch: Batch) -> None:
        """Take a batch in."""
        self.batches.append(batch)
        self.items += batch.item_count


class BatchProcessor:
    """A Consumer that blocks its callers until their merged batch was consumed, so nothing is acknowledged early.

    Its state is one open group per signal, which callers join until it is full or its time is up.
    """

    def __init__(self, config: BatchConfig, following: Consumer) -> None:
        self._config = config
        self._following = following
        self._changed = threading.Condition()
        self._open: dict[Signal, _Group] = {}

    def consume(self, batch: Batch) -> None:
        """Hand on a batch, perhaps merged with others; raises what the following Consumer raised for the merged one."""
        with self._changed:
            group, is_first = self._join(batch)
            if is_first:
                self._changed.wait_for(lambda: not group.is_open, timeout=self._config.timeout_s)
                self._close(batch.signal, group)
        if is_first:
            self._consume_group(group)
        group.is_done.wait()
        if group.error is not None:
            raise group.error

    def _join(self, batch: Batch) -> tuple[_Group, bool]:
        """The group that a batch is now in, and whether it is the first one there."""
        most = self._config.send_batch_max_size
        group = self._open.get(batch.signal)
        if group is not None and most and group.items + batch.item_count > most:
            self._close(batch.signal, group)
            group = None
        is_first = group is None
        if group is None:
            group = self._open[batch.signal] = _Group()
        group.add(batch)
        if group.items >= self._config.send_batch_size:
            self._close(batch.signal, group)
        return group, is_first

    def _close(self, signal: Signal, group: _Group) -> None:
        """Let nobody join a group any more, and wake the thread that waits for it."""
        group.is_open = False
        if self._open.get(signal) is group:
            del self._open[signal]
        self._changed.notify_all()

    def _consume_group(self, group: _Group) -> None:
        group.error = TransientError("The batch that yours was merged with could not be worked on")  # unless it can
        try:
            self._following.consume(merged_batch(group.batches))
            group.error = None
        except CollectorError as error:
            group.error = error
        finally:
            group.is_done.set()
