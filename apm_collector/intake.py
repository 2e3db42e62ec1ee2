"""Where requests of all receivers meet: the memory budget, the worker threads, and the wait for the outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from apm_collector.counts import Counts
from apm_collector.errors import TransientError
from apm_collector.inflate import inflate
from apm_collector.otlp import Decoded, Encoding, decode
from apm_collector.pipeline import Consumer
from apm_store.model import Signal

_WORKERS = 4  # they mostly wait for the commit, which concurrent writes share
_BUDGET_BYTES = 128 * 1024 * 1024
_REQUEST_BYTES = 4096  # what a request costs besides its body, so that empty ones are bounded too


class Intake:
    """Takes request bodies through decoding and a pipeline, off the event loop; used from one event loop only."""

    def __init__(self, counts: Counts, budget_bytes: int = _BUDGET_BYTES) -> None:
        self.counts = counts
        self._left = budget_bytes
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="intake")

    @contextmanager
    def reserve(self, size: int) -> Iterator[Reservation]:
        """Hold `size` bytes of the memory budget while a request is read and worked on.

        Raises TransientError when the budget is spent.
        """
        reservation = Reservation(self)
        try:
            reservation.hold(size)
            yield reservation
        finally:
            self._left += reservation.size

    def take(self, size: int) -> None:
        """Take bytes from the budget; raises TransientError when there are fewer left."""
        if size > self._left:
            raise TransientError("The collector works on as much data as its memory budget allows; try again")
        self._left -= size

    async def accept(
        self, consumer: Consumer, signal: Signal, body: bytes, encoding: Encoding, *, max_inflated_bytes: int | None
    ) -> Decoded:
        """Decode a body and have its batch consumed; returns after that, so after the commit.

        `max_inflated_bytes` is set when the body is gzip. Raises PermanentError or TransientError.
        """

        def work() -> Decoded:
            data = body if max_inflated_bytes is None else inflate(body, max_inflated_bytes)
            decoded = decode(signal, data, encoding)
            if decoded.batch is not None:
                consumer.consume(decoded.batch)
            self.counts.add_rejected(signal, decoded.rejected)
            return decoded

        return await asyncio.get_running_loop().run_in_executor(self._workers, work)

    def close(self) -> None:
        """Let the worker threads end; what they work on is finished, what waits for them is dropped."""
        self._workers.shutdown(wait=False, cancel_futures=True)


class Reservation:
    """The share of the memory budget that one request holds."""

    def __init__(self, intake: Intake) -> None:
        intake.take(_REQUEST_BYTES)
        self._intake = intake
        self.size = _REQUEST_BYTES

    def hold(self, body_bytes: int) -> None:
        """Hold enough for a body of this size; raises TransientError when the budget is spent."""
        missing = body_bytes + _REQUEST_BYTES - self.size
        if missing > 0:
            self._intake.take(missing)
            self.size += missing
