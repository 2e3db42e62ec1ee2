"""Where requests of all receivers meet: token, memory budget, worker threads, and the wait for the outcome."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Literal

from apm_collector.counts import Counts
from apm_collector.errors import CollectorError, TransientError, UnauthorizedError
from apm_collector.inflate import inflate
from apm_collector.otlp import Decoded, Encoding, decode
from apm_collector.pipeline import Consumer
from apm_collector.unforeseen import MistakeLog, UnforeseenError
from apm_store.model import Signal

_WORKERS = 4  # they mostly wait for the commit, which concurrent writes share
_BUDGET_BYTES = 128 * 1024 * 1024
_REQUEST_BYTES = 4096  # what a request costs besides its body, so that empty ones are bounded too

CheckToken = Callable[[str, str], Literal["ok", "wrong", "wait"]]
"""Says of a token and the address it came from whether it is right; "wait" after too many wrong ones."""


class Intake:
    """Takes request bodies through decoding and a pipeline, off the event loop; used from one event loop only."""

    def __init__(
        self, counts: Counts, budget_bytes: int = _BUDGET_BYTES, *, check_token: CheckToken | None = None
    ) -> None:
        self.counts = counts
        self.budget_bytes = budget_bytes
        self._left = budget_bytes
        self._lock = threading.Lock()
        self._mistakes = MistakeLog()
        self._check_token = check_token
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="intake")

    @property
    def in_flight_bytes(self) -> int:
        """How much of the memory budget is held now."""
        return self.budget_bytes - self._left

    def check_token(self, authorization: str, peer: str) -> None:
        """Let a request in: by the `Bearer` token of its authorization, when tokens are asked for.

        Raises UnauthorizedError, or TransientError after too many wrong ones from this peer.
        """
        if self._check_token is None:
            return
        scheme, _, token = authorization.partition(" ")
        verdict = self._check_token(token.strip() if scheme.lower() == "bearer" else "", peer)
        if verdict == "wait":
            raise TransientError("Too many wrong tokens came from this address; try again")
        if verdict == "wrong":
            raise UnauthorizedError("A token is needed here: authorization: Bearer <content of the file `token`>")

    @contextmanager
    def reserve(self, size: int) -> Iterator[Reservation]:
        """Hold a part of the memory budget while a request is read and worked on.

        Raises TransientError when the budget is spent.
        """
        reservation = Reservation(self)
        try:
            reservation.hold(size)
            yield reservation
        finally:
            reservation.release()

    def take(self, size: int) -> None:
        """Take bytes from the budget; raises TransientError when there are fewer left."""
        with self._lock:
            if size > self._left:
                raise TransientError("The collector works on as much data as its memory budget allows; try again")
            self._left -= size

    def give_back(self, size: int) -> None:
        """Give bytes back to the budget."""
        with self._lock:
            self._left += size

    async def accept(
        self,
        consumer: Consumer,
        signal: Signal,
        body: bytes,
        encoding: Encoding,
        *,
        reservation: Reservation,
        max_inflated_bytes: int | None,
    ) -> Decoded:
        """Decode a body and have its batch consumed; returns after that, so after the commit.

        `max_inflated_bytes` is set when the body is gzip, whose content the reservation grows by. Raises
        PermanentError or TransientError; what nobody foresaw is an UnforeseenError.
        """

        def hold(inflated_bytes: int) -> None:
            reservation.hold(len(body) + inflated_bytes)

        def work() -> Decoded:
            data = body if max_inflated_bytes is None else inflate(body, max_inflated_bytes, hold)
            decoded = decode(signal, data, encoding)
            items = decoded.rejected + (decoded.batch.item_count if decoded.batch else 0)
            with self.counts.request(signal, items, decoded.causes):
                if decoded.batch is not None:
                    consumer.consume(decoded.batch)
            return decoded

        future = asyncio.get_running_loop().run_in_executor(self._workers, work)
        try:
            await asyncio.wait([future])
        finally:
            future.cancel()  # the sender went away; nothing happens when the work has begun
        error = future.exception()
        if isinstance(error, Exception) and not isinstance(error, CollectorError):
            self._mistakes.add(signal, error)
            raise UnforeseenError from error
        return future.result()

    def close(self) -> None:
        """Let the worker threads end; what they work on is finished, what waits for them is dropped."""
        self._workers.shutdown(wait=False, cancel_futures=True)


class Reservation:
    """The share of the memory budget that one request holds; used by one thread at a time."""

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

    def release(self) -> None:
        """Give everything back."""
        self._intake.give_back(self.size)
        self.size = 0
