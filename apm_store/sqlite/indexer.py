"""The one thread that indexes: it takes acknowledged bodies in the order of the log and makes them searchable.

Everything that it writes can be built anew from the logs, so a fault costs time and no data. The catalogue is
committed before the segment; each remembers how far it has come, and gets at a start what it lacks.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from apm_store.api import StoreError
from apm_store.model import Signal
from apm_store.otlp_decode import parse_request
from apm_store.sqlite.bodies import digest_of
from apm_store.sqlite.body_log import Frame
from apm_store.sqlite.disk_guard import DiskGuard, is_disk_full
from apm_store.sqlite.open_databases import OpenDatabases
from apm_store.sqlite.recovery import is_corruption, is_readable
from apm_store.sqlite.retention import PruneRequest, Upkeep
from apm_store.sqlite.segment_index import SegmentIndex
from apm_store.sqlite.segments import SegmentFiles, segment_ids
from apm_store.sqlite.trace_directory import SETTLE_S, SpanKey
from apm_store.sqlite.wal import MAX_WAL_BYTES
from apm_store.sqlite.write_logs import INSERT_LOG_RECORD, log_record_rows
from apm_store.sqlite.write_metrics import INSERT_DATA_POINT, data_point_rows
from apm_store.sqlite.write_traces import read_spans

FLUSH_S = 1.0
"""How long an acknowledged body waits at most, while the indexer keeps up, until others can find it."""

_FLUSH_ITEMS, _AT_ONCE = 100_000, 64
_RETRY_S, _WAL_RETRY_S = 1.0, 0.5
_BODY_ERRORS = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, StoreError, DecodeError)
_ROW_MAKERS: dict[Signal, tuple[str, int, Callable[..., list[tuple[Any, ...]]]]] = {
    Signal.METRICS: (INSERT_DATA_POINT, 1, data_point_rows),
    Signal.LOGS: (INSERT_LOG_RECORD, 1, log_record_rows),
}
"""The statement that inserts a row, the column of its time, and what makes the rows."""

Position = tuple[int, int]
"""A segment, and the number of a body in its log."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Waiting:
    """An acknowledged body; `request` and `body` are None where memory was too dear to keep them."""

    segment_id: int
    frame: Frame
    request: Any = None
    body: bytes | None = None


class Indexer(OpenDatabases):
    """Indexes all segments of a data directory; `start` catches up with the logs before it returns."""

    def __init__(self, data_dir: Path, upkeep: Upkeep, guard: DiskGuard) -> None:
        super().__init__(data_dir)
        self._upkeep = upkeep
        self._guard = guard
        self._waiting: deque[Waiting] = deque()
        self._waiting_bytes = 0
        self._unflushed: Counter[Signal] = Counter()
        self._unflushed_since_s = 0.0
        self._is_at_rest = True
        self._oldest_ns = 0
        self._changed = threading.Condition()
        self._is_closed = False
        self._put: Position = (0, 0)
        self._wanted: Position = (0, 0)
        self._indexed: Position = (0, 0)
        self._committed: Position = (0, 0)
        self._thread = threading.Thread(target=self._run, name="spanwise-indexer", daemon=True)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes of bodies wait in memory."""
        return self._waiting_bytes

    def start(self) -> None:
        """Index what the logs hold beyond the indexes, then go on in a thread."""
        self._resume()
        self._thread.start()

    def put(self, bodies: Sequence[Waiting]) -> None:
        """Have acknowledged bodies indexed; they come in the order of the log."""
        with self._changed:
            self._waiting.extend(bodies)
            self._waiting_bytes += sum(len(one.body) for one in bodies if one.body is not None)
            self._put = (bodies[-1].segment_id, bodies[-1].frame.seq)
            self._changed.notify_all()

    def prune(self, request: PruneRequest) -> None:
        """Have raw data removed; the request's `done` gets the result."""
        self._upkeep.ask(request)
        with self._changed:
            self._changed.notify_all()
            if self._is_closed:
                self._upkeep.cancel()

    def hurry(self) -> None:
        """Look at the bounds at once: the disk is full."""
        self._upkeep.hurry()
        with self._changed:
            self._changed.notify_all()

    @property
    def position(self) -> Position:
        """The last body that the catalogue contains."""
        return self._catalogue_position

    def first_undone(self) -> int:
        """The first segment of which something may still be written or indexed."""
        newest = max(segment_ids(self._data_dir), default=0)
        with self._changed:
            return min(newest, self._waiting[0].segment_id) if self._waiting else newest

    def flush(self) -> None:
        """Commit what is indexed, so that no transaction is open."""
        self._flush()
        if self._catalogue.connection.in_transaction:
            self._catalogue.connection.execute("COMMIT")

    def let_go_of(self, segment_id: int) -> None:
        """Close a segment that is to be dropped, if it is open."""
        if self._current is not None and self._current.files.segment_id == segment_id:
            self._finish()
        self._close_segment(segment_id)

    def shrink_wal(self) -> None:
        """Empty the write-ahead logs, unless somebody reads from them."""
        self.flush()
        self._shrink_wal()

    def catch_up(self, timeout_s: float) -> None:
        """Return when all that was put before can be found, or the time is over."""
        with self._changed:
            target = self._wanted = self._put
            if self._committed < target:
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._committed >= target or self._is_closed, timeout_s)

    def lag(self) -> tuple[dict[Signal, int], float]:
        """How many items of each signal cannot be found yet, and for how many seconds the oldest has waited."""
        with self._changed:
            items = {signal: self._unflushed[signal] for signal in Signal}
            oldest_ns = self._oldest_ns if any(items.values()) else 0
            for one in self._waiting:
                items[one.frame.signal] += one.frame.item_count
            if not oldest_ns and self._waiting:
                oldest_ns = self._waiting[0].frame.received_ns
        return items, max(0.0, (time.time_ns() - oldest_ns) / 1e9) if oldest_ns else 0.0

    def close(self) -> None:
        """Index what waits, then let go of the databases; further calls do nothing."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        self._upkeep.cancel()
        self._let_go()

    def _run(self) -> None:
        while True:
            batch = self._take()
            try:
                self._await_wal()
                for one in batch:
                    self._open(one.segment_id)
                    self._index(one.frame, one.request, one.body)
                    self._flush_if_due()
                self._flush_if_due()
                if self._is_closed and not self._waiting:
                    self._finish()
                    self.shrink_wal()
                    return
                self._upkeep.work(self)
                self._rest()
            except (sqlite3.Error, OSError, StoreError) as error:
                _log.warning("The store's index could not be written: %s. It is tried again.", error)
                if is_disk_full(error):
                    self._guard.found_full()
                    self._upkeep.hurry()
                if not self._recover(is_corruption(error)):
                    return

    def _take(self) -> list[Waiting]:
        """The next bodies; none when a flush is due or the indexer is closed."""
        with self._changed:
            wait_s = self._upkeep.wait_s()
            if self._indexed > self._committed:
                wait_s = min(wait_s, self._unflushed_since_s + FLUSH_S - time.monotonic())
            self._changed.wait_for(self._has_work, max(0.0, wait_s))
            batch = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
            for one in batch:
                self._waiting_bytes -= len(one.body) if one.body is not None else 0
                self._unflushed[one.frame.signal] += one.frame.item_count
                self._oldest_ns = self._oldest_ns or one.frame.received_ns
            return batch

    def _has_work(self) -> bool:
        return bool(self._waiting) or self._is_closed or self._is_wanted() or not self._upkeep.wait_s()

    def _is_wanted(self) -> bool:
        return self._wanted > self._committed and self._indexed >= self._wanted

    def _flush_if_due(self) -> None:
        if self._indexed <= self._committed:
            return
        is_late = time.monotonic() - self._unflushed_since_s >= FLUSH_S
        if is_late or self._unflushed.total() >= _FLUSH_ITEMS or self._is_wanted():
            self._flush()

    def _flush(self) -> None:
        """Commit the catalogue, then the segment."""
        if self._current is not None and self._indexed > self._committed:
            self._commit(self._current)
            self._is_at_rest = False

    def _rest(self) -> None:
        """While nothing comes, settle the traces and calls that wait for more."""
        is_quiet = time.monotonic() - self._unflushed_since_s > SETTLE_S + FLUSH_S
        if self._current is not None and is_quiet and not self._is_at_rest and self._indexed == self._committed:
            self._commit(self._current)
            self._is_at_rest = not len(self._current.directory) and self._catalogue.edges.due_ns() is None

    def _commit(self, current: SegmentIndex) -> None:
        self._catalogue.edges.expire(time.time_ns())
        if self._indexed >= self._catalogue_position:
            self._catalogue.commit(*self._indexed, current.offset)
        current.commit(time.monotonic())
        with self._changed:
            self._committed = self._indexed
            self._unflushed.clear()
            self._oldest_ns = 0
            self._changed.notify_all()

    def _finish(self) -> None:
        """Leave nothing half done in the current segment."""
        self._flush()
        if self._current is not None:
            self._current.finish(time.monotonic())

    def _open(self, segment_id: int) -> None:
        """Make a segment the current one; the one before stays open, to know its spans."""
        if self._current is not None and self._current.files.segment_id == segment_id:
            return
        self._finish()
        self._open_segment(segment_id)

    def _resume(self) -> None:
        """Take up every segment that is not wholly indexed, and the last one in any case."""
        self._upkeep.take_up(self._catalogue)
        ids = segment_ids(self._data_dir)
        for segment_id in ids:
            files = SegmentFiles(self._data_dir, segment_id)
            if segment_id < self._catalogue.segment_id and segment_id not in ids[-2:] and is_readable(files.index):
                continue
            self._open(segment_id)
            if self._current is not None and (segment_id, self._current.seq) > self._catalogue_position:
                # The ids in this index are those of another catalogue.
                self._current.remove()
                self._current = SegmentIndex(files)
            self._catch_up()

    @property
    def _catalogue_position(self) -> Position:
        return self._catalogue.segment_id, self._catalogue.seq

    def _catch_up(self) -> None:
        """Index the frames of the current segment's log that its index lacks."""
        current = self._current
        assert current is not None
        self._indexed = self._committed = max(self._committed, (current.files.segment_id, current.seq))
        skipped = 0
        for frame in current.log.frames(current.offset):
            if isinstance(frame, int):
                skipped += frame
                continue
            self._index(frame, None, None)
            self._flush_if_due()
        if skipped:
            path = current.files.log
            self._catalogue.begin()
            self._catalogue.notice("warn", f"{skipped:,} bytes of {path} are damaged and were left out.")
        self._flush()

    def _await_wal(self) -> None:
        """Write nothing while a reader keeps a write-ahead log from being emptied."""
        wait_s = 0.0
        while self._longest_wal() > MAX_WAL_BYTES and not self._is_closed:
            self.shrink_wal()
            if wait_s:
                _log.warning("Somebody has been reading the store for long; until that ends, new data is not found.")
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed, wait_s)
            wait_s = min(8.0, wait_s * 2 or _WAL_RETRY_S)

    def _recover(self, is_corrupt: bool) -> bool:
        """Begin anew from what is committed, as often as it takes; False when the indexer is closed meanwhile."""
        self._upkeep.start_over()
        while True:
            with self._changed:
                if self._is_closed:  # the logs hold everything: the next start goes on
                    self._changed.notify_all()
                    return False
                self._changed.wait(_RETRY_S)
            try:
                self._let_go()
                self._indexed = self._committed = (0, 0)
                self._open_catalogue(is_thorough=is_corrupt)
                self._resume()
            except (sqlite3.Error, OSError, StoreError) as error:
                _log.warning("The store's index could not be opened again: %s.", error)
                is_corrupt |= is_corruption(error)
            else:
                return True

    def _index(self, frame: Frame, request: Any, body: bytes | None) -> None:
        """Index one body, unless it is; what cannot be understood stays in the log and is told of."""
        current = self._current
        assert current is not None
        position = (current.files.segment_id, frame.seq)
        if position <= self._indexed:
            return
        if self._indexed <= self._committed:
            self._unflushed_since_s = time.monotonic()
        self._catalogue.begin()
        current.begin()
        try:
            if request is None or body is None:
                body = current.log.body(frame.offset, frame.length)
                request = parse_request(frame.signal, body)
            index = self._index_spans if frame.signal is Signal.TRACES else self._index_rows
            index(current, frame, request, body)
        except _BODY_ERRORS as error:
            _log.exception("A stored request could not be indexed.")
            self._catalogue.notice("warn", f"A stored request of {frame.signal.value} could not be read: {error!r}.")
            current.add_body(frame, frame.received_ns, frame.received_ns, None)
        self._indexed = position

    def _index_spans(self, current: SegmentIndex, frame: Frame, request: Any, body: bytes) -> None:
        found = read_spans(self._catalogue.names, request, body, frame.seq, frame.received_ns)
        now_s = time.monotonic()
        new = current.directory.new_spans(found.spans, current.next_block, now_s, self._known_before)
        if new:
            current.add_spans(new, found.tokens, now_s)
        starts = [span.start_ns for span in found.spans]
        if self._is_counted(current, frame):
            current.add_body(frame, min(starts), max(starts), None)
            return
        is_new = set(map(id, new)) if len(new) < len(found.spans) else None
        ends = ((found.spans[index], peer) for index, peer in found.ends)
        self._catalogue.count_edges((end for end in ends if is_new is None or id(end[0]) in is_new), found.services)
        self._catalogue.count_spans(new)
        for index, weight in found.weights.items():
            if is_new is None or id(found.spans[index]) in is_new:
                self._catalogue.count_again(found.spans[index], weight - 1)
        self._count(current, frame, len(new), min(starts), max(starts))
        current.add_body(frame, min(starts), max(starts), None)

    def _index_rows(self, current: SegmentIndex, frame: Frame, request: Any, body: bytes) -> None:
        """Index data points or log records; a request that came before is left out as a whole."""
        digest = digest_of(frame.signal, body)
        segments = [segment for segment in (current, self._previous) if segment is not None]
        is_again = any(segment.has_body(digest) for segment in segments)
        sql, time_column, make_rows = _ROW_MAKERS[frame.signal]
        rows = [] if is_again else make_rows(self._catalogue.names, request, frame.seq, frame.received_ns)
        stored = current.insert_new(sql, rows)
        times = [row[time_column] for row in rows] or [frame.received_ns]
        if not self._is_counted(current, frame):
            self._count(current, frame, stored, min(times), max(times))
        current.add_body(frame, min(times), max(times), None if is_again else digest)

    def _is_counted(self, current: SegmentIndex, frame: Frame) -> bool:
        """Whether the catalogue contains a body already, which the segment's index lacks."""
        return (current.files.segment_id, frame.seq) <= self._catalogue_position

    def _count(self, current: SegmentIndex, frame: Frame, stored: int, first_ns: int, last_ns: int) -> None:
        segment_id = current.files.segment_id
        self._catalogue.count_items(frame.signal, segment_id, stored, frame.item_count - stored)
        self._catalogue.see_body(segment_id, first_ns, last_ns, frame.received_ns)

    def _known_before(self, trace_ids: Sequence[bytes]) -> dict[bytes, set[SpanKey]]:
        """The spans of these traces that the segment before holds."""
        return {} if self._previous is None else self._previous.known_spans(trace_ids)
