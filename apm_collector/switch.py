"""A Consumer whose successor can be exchanged while batches pass through it."""

from __future__ import annotations

import threading
import time

from apm_collector.pipeline import Consumer
from apm_store.model import Batch


class _Way:
    """One successor, and how many batches are on the way through it."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.passing = 0


class Switch:
    """Hands each batch to one successor, whole; receivers keep it while pipelines come and go."""

    def __init__(self, consumer: Consumer) -> None:
        self._lock = threading.Condition()
        self._way = _Way(consumer)

    def consume(self, batch: Batch) -> None:
        """Have the present successor consume a batch; raises what it raises."""
        with self._lock:
            way = self._way
            way.passing += 1
        try:
            way.consumer.consume(batch)
        finally:
            with self._lock:
                way.passing -= 1
                self._lock.notify_all()

    def turn(self, consumer: Consumer, timeout_s: float) -> bool:
        """Hand every batch from now on to another successor; give whether the former one became idle in time."""
        with self._lock:
            former, self._way = self._way, _Way(consumer)
            deadline_s = time.monotonic() + timeout_s
            while former.passing and (left_s := deadline_s - time.monotonic()) > 0:
                self._lock.wait(left_s)
            return not former.passing
