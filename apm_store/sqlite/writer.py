"""The one thread that makes requests durable: those that wait are appended to the log and share one fsync."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from apm_store.api import StoreBusyError, StoreClosedError, StoreError, StoreFullError
from apm_store.model import Batch
from apm_store.query import PruneEntry, Retention
from apm_store.sqlite.adopt_version_1 import adopt_version_1
from apm_store.sqlite.bodies import MAX_ITEMS
from apm_store.sqlite.body_indexer import Position
from apm_store.sqlite.body_log import BodyLog, Frame, LogReader, encode_frame, pack
from apm_store.sqlite.disk_guard import DiskGuard, is_disk_full
from apm_store.sqlite.indexer import Indexer, Waiting
from apm_store.sqlite.retention import PruneRequest, Upkeep
from apm_store.sqlite.segments import SegmentFiles, directory_bytes, segment_ids, sync_directory

QUEUE_BYTES = 64 * 1024 * 1024
"""How many bytes of OTLP may wait for the log."""

SEGMENT_BYTES = 256 * 1024 * 1024
"""A log this long is followed by the next segment; so is one that was begun on another day.

A small budget makes segments small: with its index a segment takes about a sixteenth, so that little goes at a time.
"""

_MIN_SEGMENT_BYTES = 8 * 1024 * 1024
_SEGMENTS_IN_BUDGET = 32  # were there logs alone

_INDEX_QUEUE_BYTES = 6 * 1024 * 1024  # of parsed requests; beyond it the indexer reads the log
_DAY_NS = 86_400 * 1_000_000_000
_LATENCIES = 512
_CATCH_UP_S = 30.0


@dataclass(slots=True)
class _Job:
    """A batch that waits, compressed."""

    batch: Batch
    packed: bytes
    done: Future[None] = field(default_factory=Future)


class Writer:
    """Owns the log of the newest segment and everything that follows from it."""

    def __init__(self, data_dir: Path, retention: Retention | None = None, *, segment_bytes: int | None = None) -> None:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._data_dir = data_dir
        self._guard = DiskGuard(data_dir)
        self._upkeep = Upkeep(data_dir, retention or Retention(), self._guard)
        usual = max(_MIN_SEGMENT_BYTES, min(SEGMENT_BYTES, self._upkeep.budget_bytes // _SEGMENTS_IN_BUDGET))
        self._segment_bytes = segment_bytes or usual
        adopt_version_1(data_dir, self._segment_bytes)
        self._waiting: deque[_Job] = deque()
        self._waiting_bytes = 0
        self._last_received_ns = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self._latencies_ms: deque[float] = deque(maxlen=_LATENCIES)
        self._committing = threading.Lock()
        self.indexer = Indexer(data_dir, self._upkeep, self._guard)
        try:
            self._log, self._segment_id, self._seq, self._day = _last_log(
                data_dir, self.indexer.position, self.indexer.position_end
            )
            self.indexer.start((self._segment_id, self._seq))
        except (StoreError, sqlite3.Error, OSError):
            self.indexer.close()
            raise
        self._thread = threading.Thread(target=self._run, name="spanwise-store-writer", daemon=True)
        self._thread.start()

    def write(self, batch: Batch) -> None:
        """Store a batch; returns once it is durable.

        Raises StoreBusyError when too many bytes wait already, StoreFullError when the disk is full, StoreError when
        this batch cannot be stored.
        """
        if batch.item_count == 0:
            return
        if batch.item_count > MAX_ITEMS:
            raise StoreError(f"A batch of {batch.item_count} items is too large; split it into {MAX_ITEMS} at most.")
        job = _Job(batch, pack(batch.body))
        with self._changed:
            if self._is_closed:
                raise StoreClosedError
            if self._waiting and self._waiting_bytes + len(batch.body) > QUEUE_BYTES:
                raise StoreBusyError
            self._waiting.append(job)
            self._waiting_bytes += len(batch.body)
            self._changed.notify_all()
        job.done.result()

    def prune(self, *, before_ns: int | None = None, to_bytes: int | None = None) -> PruneEntry | None:
        """Remove the oldest segments: those received before a time, or until the store fits; see `api.Store`."""
        if before_ns is None and to_bytes is None:
            raise StoreError("Say what to remove: all before a time, or all but so many bytes.")
        with self._committing:  # the segment that is written cannot be removed, so it is ended if it would have to be
            held = directory_bytes(SegmentFiles(self._data_dir, self._segment_id).directory)
            is_old = before_ns is not None and self._last_received_ns < before_ns
            if self._log.size and (is_old or (to_bytes is not None and held > to_bytes)):
                self._begin_segment(time.time_ns())
        self.indexer.catch_up(_CATCH_UP_S)
        request = PruneRequest(before_ns, to_bytes)
        self.indexer.prune(request)
        return request.done.result()

    @property
    def queue_bytes(self) -> int:
        """How many bytes of OTLP wait for the log."""
        return self._waiting_bytes

    def commit_ms(self) -> tuple[float, float]:
        """The median and the 99th percentile of the time that the last commits took; 0 before the first."""
        taken = sorted(self._latencies_ms)
        return (taken[len(taken) // 2], taken[len(taken) * 99 // 100]) if taken else (0.0, 0.0)

    def close(self) -> None:
        """Store and index what waits, then let go of all files; further calls do nothing."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()
        self.indexer.close()

    def _run(self) -> None:
        jobs: list[_Job] = []
        try:
            while jobs := self._take():
                with self._committing:
                    self._commit(jobs)
        finally:  # also when the thread dies of a fault, so that nobody waits for ever
            with self._changed:
                self._is_closed = True
                jobs += self._waiting
                self._waiting.clear()
            for job in jobs:
                if not job.done.done():
                    job.done.set_exception(StoreError("The store's writer has stopped; restart Spanwise."))
            self._log.close()

    def _take(self) -> list[_Job]:
        """All jobs that wait, as soon as there is one; empty when the writer is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            jobs = list(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            return jobs

    def _commit(self, jobs: list[_Job]) -> None:
        """Make the jobs durable together, answer their senders, and have them indexed."""
        started_s = time.monotonic()
        received_ns = time.time_ns()
        try:
            self._guard.check()
            if self._log.is_failed:
                self._open_again()
            self._begin_segment_if_due(received_ns)
            frames = [
                encode_frame(seq, job.batch.signal, received_ns, job.batch.item_count, job.packed)
                for seq, job in enumerate(jobs, self._seq + 1)
            ]
            offsets = self._log.append(frames)
        except (StoreError, OSError) as error:
            if is_disk_full(error):
                self._guard.found_full()
                self.indexer.hurry()
                error = StoreFullError()
            failure = error if isinstance(error, StoreError) else StoreError(f"The store could not write: {error}.")
            for job in jobs:
                job.done.set_exception(failure)
            return
        self._latencies_ms.append((time.monotonic() - started_s) * 1e3)
        self._hand_on(jobs, [len(frame) for frame in frames], offsets, received_ns)
        self._seq += len(jobs)
        self._last_received_ns = received_ns
        for job in jobs:  # after the indexer knows of them, so that who asks next sees what was just acknowledged
            job.done.set_result(None)

    def _hand_on(self, jobs: list[_Job], lengths: list[int], offsets: list[int], received_ns: int) -> None:
        room = _INDEX_QUEUE_BYTES - self.indexer.waiting_bytes
        waiting = []
        for seq, (job, length, offset) in enumerate(zip(jobs, lengths, offsets, strict=True), self._seq + 1):
            batch = job.batch
            frame = Frame(offset, length, seq, received_ns, batch.item_count, batch.signal)
            room -= len(batch.body)
            kept = (batch.request, batch.body) if room > 0 else (None, None)
            waiting.append(Waiting(self._segment_id, frame, *kept))
        self.indexer.put(waiting)

    def _begin_segment_if_due(self, now_ns: int) -> None:
        if not self._log.size:
            self._day = now_ns // _DAY_NS
        is_long = self._log.size >= self._segment_bytes or self._upkeep.is_segment_wanted
        if self._log.size and (is_long or now_ns // _DAY_NS != self._day):
            self._begin_segment(now_ns)

    def _begin_segment(self, now_ns: int) -> None:
        log = _new_log(self._data_dir, self._segment_id + 1)
        self._log.close()
        self._log, self._segment_id, self._seq, self._day = log, self._segment_id + 1, 0, now_ns // _DAY_NS
        self._upkeep.is_segment_wanted = False

    def _open_again(self) -> None:
        """Take up the log as it lies on the disk, after the disk failed to take something."""
        self._log.close()
        self._log, self._segment_id, self._seq, self._day = _last_log(self._data_dir, (self._segment_id, self._seq), 0)


def _last_log(data_dir: Path, known: Position, known_end: int) -> tuple[BodyLog, int, int, int]:
    """The log to append to, its segment, the number of its last body, and the day of its first; cut after the last.

    `known` is a body that was there, and `known_end` where it ended: what lies before need not be looked through. A log
    that lacks this body is left as it is, and another one is begun.
    """
    segment_id = max(segment_ids(data_dir), default=0)
    if segment_id < max(1, known[0]):
        return _new_log(data_dir, known[0] + 1), known[0] + 1, 0, 0
    files = SegmentFiles(data_dir, segment_id)
    log, reader = BodyLog(files.log), LogReader(files.log)
    start = known_end if known[0] == segment_id and reader.goes_on_at(known_end, known[1]) else 0
    seq, end = known[1] if start else 0, start
    for frame in reader.frames(start):
        if isinstance(frame, Frame):
            seq, end = max(seq, frame.seq), frame.offset + frame.length
    first = next(reader.headers(0), None)
    reader.close()
    if (segment_id, seq) < known:
        log.close()
        return _new_log(data_dir, segment_id + 1), segment_id + 1, 0, 0
    if end < log.size:
        log.truncate(end)
    return log, segment_id, seq, first.received_ns // _DAY_NS if first is not None else 0


def _new_log(data_dir: Path, segment_id: int) -> BodyLog:
    """The empty log of a new segment, with its directory durable."""
    files = SegmentFiles(data_dir, segment_id)
    directories = (data_dir, files.directory.parent, files.directory)
    for directory in directories:  # one by one: the mode holds for the last of several only
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = BodyLog(files.log)
    for directory in directories:
        sync_directory(directory)
    return log
