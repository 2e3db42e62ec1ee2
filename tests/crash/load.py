"""The sender of the crash rigs: sends over HTTP and gRPC until it is answered, however often, and keeps the ledger."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.generator import Generator, Request
from bench.sender import RefusedError, connect
from stack import Stack

SPANS_PER_S = 10_000
REQUEST_SPANS = 100
SPREAD_NS = 1_000_000_000
_LANES = ("http", "http", "grpc", "grpc")
_RETRY_S = 0.05
_Post = Callable[[bytes], None]


def make_generator() -> Generator:
    """The requests that sender and judge both know: the same numbers give the same spans."""
    return Generator.make(seed=7, waves=1, wave_spans=2_000, request_spans=REQUEST_SPANS)


@dataclass(frozen=True)
class Parcel:
    """One request of the load, named by what it can be made again from."""

    wave: int
    index: int
    start_ns: int

    def stamp(self, generator: Generator) -> Request:
        """The request itself."""
        return generator.waves[0][self.index].stamp(self.wave, self.start_ns, SPREAD_NS)

    def line(self) -> str:
        """The parcel as a line of the ledger."""
        return f"{self.wave} {self.index} {self.start_ns}\n"


class Ledger:
    """Two files outside the data directory: what was sent (before it was), and what was acknowledged (after it was)."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self._sent = (directory / "sent").open("a", buffering=1)
        self._acknowledged = (directory / "acknowledged").open("a", buffering=1)
        self._lock = threading.Lock()
        self.count = 0

    def add_sent(self, parcel: Parcel) -> None:
        """Note that a parcel may arrive from now on."""
        with self._lock:
            self._sent.write(parcel.line())

    def add_acknowledged(self, parcel: Parcel) -> None:
        """Note that a parcel was answered with success."""
        with self._lock:
            self._acknowledged.write(parcel.line())
            self.count += 1

    def close(self) -> None:
        """Close both files."""
        self._sent.close()
        self._acknowledged.close()


def read_ledger(directory: Path) -> tuple[set[Parcel], set[Parcel]]:
    """What was sent and what was acknowledged; a last line without its end counts as not written."""
    sent, acknowledged = (_read(directory / name) for name in ("sent", "acknowledged"))
    return sent, acknowledged


def _read(path: Path) -> set[Parcel]:
    lines = path.read_text().split("\n")[:-1]
    return {Parcel(*(int(number) for number in line.split())) for line in lines}


class Senders:
    """Four lanes that send 10,000 spans/s together from `start` until `stop`, through every death of the stack.

    `age_ns` moves the times of the spans into the past, so that a store by days begins another day.
    """

    def __init__(self, stack: Stack, ledger: Ledger) -> None:
        self._ports = {"http": stack.http_port, "grpc": stack.grpc_port}
        self._ledger = ledger
        self._generator = make_generator()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._parcels = self._make_parcels()
        self._threads = [threading.Thread(target=self._send_all, args=(lane,), daemon=True) for lane in _LANES]
        self.age_ns = 0

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop sending; the parcels under way stay unanswered."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(10)
        self._ledger.close()

    def _make_parcels(self) -> Iterator[Parcel]:
        wave = 0
        while True:
            wave += 1
            start_ns = time.time_ns() - self.age_ns
            for index in range(len(self._generator.waves[0])):
                yield Parcel(wave, index, start_ns)

    def _send_all(self, lane: str) -> None:
        """One lane: a parcel at a time, each until it is taken, over a new connection whenever the old one breaks."""
        pause_s = REQUEST_SPANS * len(_LANES) / SPANS_PER_S
        due_s = time.monotonic()
        post: _Post | None = None
        while not self._stopping.is_set():
            with self._lock:
                parcel = next(self._parcels)
            body = parcel.stamp(self._generator).body
            self._ledger.add_sent(parcel)
            while (post := self._post(lane, post, body)) is None and not self._stopping.wait(_RETRY_S):
                pass
            if post is not None:
                self._ledger.add_acknowledged(parcel)
            due_s = max(due_s + pause_s, time.monotonic() - pause_s)
            self._stopping.wait(max(0.0, due_s - time.monotonic()))

    def _post(self, lane: str, post: _Post | None, body: bytes) -> _Post | None:
        """Send a body over a connection, a new one when there is none; give the connection if the body was taken."""
        try:
            post = post or connect(lane, self._ports[lane])
            post(body)
        except (OSError, RefusedError):
            return None
        return post
