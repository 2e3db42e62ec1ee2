"""What waits to be sent: a bounded queue that loses the oldest first and knows exactly how many it has lost."""

import itertools
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from typing import Generic, TypeVar

from otel_agent.background import BackgroundThread
from otel_agent.forks import in_children

Item = TypeVar("Item")

_LONGEST_PAUSE_S = 2.0
_MOST_DOUBLINGS = 10


class ExportQueue(Generic[Item]):
    """Hands its items in batches to `export`, which tells whether they have arrived, on a thread of its own.

    The thread starts with the first item. Items that have not arrived go back into the queue when `retry_after_s()`
    gives the seconds after which the collector may take them, and are lost when it gives None.
    """

    def __init__(
        self,
        name: str,
        export: Callable[[Sequence[Item]], bool],
        retry_after_s: Callable[[], float | None],
        capacity: int,
        batch_size: int,
        delay_s: float,
    ) -> None:
        self._export = export
        self._retry_after_s = retry_after_s
        self._batch_size = min(batch_size, capacity)
        self._delay_s = delay_s
        # No lock guards `put`: a finalizer or a signal handler may put an item while `put` runs on the same thread.
        self._items: deque[Item] = deque(maxlen=capacity)
        self._dropped = 0
        self.forget()
        in_children(self.forget)
        self._thread = BackgroundThread(name, self._send, lambda: bool(self._items), delay_s)

    def put(self, item: Item) -> None:
        """Add an item; when the queue is full, the oldest one is lost."""
        self._items.append(item)
        next(self._puts)
        if self._thread.life is None:
            self._thread.start()
        if len(self._items) >= self._batch_size and not self._failures:
            self._thread.wake()

    def count_dropped(self) -> int:
        """Return how many items have been put that neither arrived nor wait; it never falls."""
        puts = int(next(copy(self._puts)))
        self._dropped = max(self._dropped, puts - self._arrived - self._in_hand - len(self._items))
        return self._dropped

    def flush(self) -> bool:
        """Send everything now, on the calling thread; return whether nothing is left."""
        while self._items and self._send_batch(is_last=False):
            pass
        with self._sending:  # the thread may have the last batch in hand
            return not self._items

    def begin_end(self) -> None:
        """Let the thread send what is left, once, and end."""
        self._thread.begin_end()

    def join(self, timeout_s: float) -> None:
        """Wait for that, `timeout_s` at most."""
        self._thread.join(timeout_s)

    def forget(self) -> None:
        """Begin anew, as a forked child must: the items are its parent's to send."""
        self._items.clear()
        self._puts = itertools.count()
        self._arrived, self._in_hand, self._dropped, self._failures = 0, 0, 0, 0
        self._sending = allocate_lock()

    def _send(self, is_last: bool) -> float:
        is_going_on = True
        while self._items and is_going_on:
            is_full_batch = len(self._items) >= self._batch_size
            is_going_on = self._send_batch(is_last) and (is_full_batch or is_last)
        return self._delay_s if not self._failures else self._pause_s()

    def _pause_s(self) -> float:
        """How long to leave a collector alone that does not take anything: longer each time."""
        return max(self._retry_after_s() or 0.0, min(self._delay_s * float(2**self._failures), _LONGEST_PAUSE_S))

    def _send_batch(self, is_last: bool) -> bool:
        """Send one batch; return whether it is worth going on at once."""
        with self._sending:
            batch = self._take()
            has_arrived = not batch or self._export(batch)
            is_settled = has_arrived or self._retry_after_s() is None
            if has_arrived:
                self._arrived += len(batch)
            elif not is_last and not is_settled:
                room = min((self._items.maxlen or 0) - len(self._items), len(batch))
                self._items.extendleft(reversed(batch[len(batch) - room :]))
            self._failures = 0 if is_settled else min(self._failures + 1, _MOST_DOUBLINGS)
            self._in_hand = 0
        return is_settled

    def _take(self) -> list[Item]:
        batch: list[Item] = []
        while self._items and len(batch) < self._batch_size:
            self._in_hand += 1
            batch.append(self._items.popleft())
        return batch
