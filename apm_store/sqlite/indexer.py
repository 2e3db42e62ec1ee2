"""The one thread that indexes: it takes acknowledged bodies in the order of the log and makes them searchable.

Everything that it writes can be built anew from the logs, so a fault costs time and no data. While more arrives than
one process can answer and index, it has a process of its own index, and only follows what that does.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apm_store.api import StoreError
from apm_store.sqlite.body_indexer import FLUSH_S, BodyIndexer, Position
from apm_store.sqlite.body_log import Frame
from apm_store.sqlite.disk_guard import DiskGuard, is_disk_full
from apm_store.sqlite.edges import EdgePairing
from apm_store.sqlite.recovery import is_corruption
from apm_store.sqlite.retention import PruneRequest, Upkeep
from apm_store.sqlite.segment_index import SegmentIndex
from apm_store.sqlite.segments import segment_ids
from apm_store.sqlite.trace_directory import SETTLE_S
from apm_store.sqlite.wal import MAX_WAL_BYTES

if TYPE_CHECKING:
    from apm_store.sqlite.index_process import IndexProcess, News

_AT_ONCE = 64
_RETRY_S, _WAL_RETRY_S = 1.0, 0.5

_BEHIND_ITEMS, _BEHIND_S = 10_000, 0.5
"""Another process is to index when so much waits, and has for so long; twice a second of one process's work."""

_CALM_ITEMS_PER_S, _CALM_S = 5_000, 10.0
"""It ends after a while of less: that is a third of what this process can index beside its other work."""

_NEWS_S = 0.05
_STUCK_S = 30.0
_ALONE_S = 60.0  # after a fault of the other process

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Waiting:
    """An acknowledged body; `request` and `body` are None where memory was too dear to keep them."""

    segment_id: int
    frame: Frame
    request: Any = None
    body: bytes | None = None


class Indexer(BodyIndexer):
    """Indexes all segments of a data directory; when it falls behind, it may hand the work over to a process."""

    def __init__(self, data_dir: Path, upkeep: Upkeep, guard: DiskGuard, *, may_hand_over: bool = True) -> None:
        super().__init__(data_dir)
        self._upkeep = upkeep
        self._guard = guard
        self._alone_until_s = 0.0 if may_hand_over else math.inf
        self._waiting: deque[Waiting] = deque()
        self._waiting_bytes = 0
        self._waiting_items = 0
        self._is_at_rest = True
        self._changed = threading.Condition()
        self._is_closed = False
        self._put: Position = (0, 0)
        self._wanted: Position = (0, 0)
        self._resuming: Iterator[None] = iter(())
        self._thread = threading.Thread(target=self._run, name="spanwise-indexer", daemon=True)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes of bodies wait in memory."""
        return self._waiting_bytes

    def start(self, until: Position) -> None:
        """Open the databases, then index in a thread: first what the logs hold so far, to the body `until`.

        Raises what keeps the databases from being opened.
        """
        self._put = until
        self._begin_catching_up()
        self._thread.start()

    def put(self, bodies: Sequence[Waiting]) -> None:
        """Have acknowledged bodies indexed; they come in the order of the log."""
        with self._changed:
            self._waiting.extend(bodies)
            self._waiting_bytes += sum(len(one.body) for one in bodies if one.body is not None)
            self._waiting_items += sum(one.frame.item_count for one in bodies)
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

    @property
    def position_end(self) -> int:
        """Where this body ends in its log."""
        end: int = self._catalogue.offset
        return end

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
        is_open = True
        while is_open:
            try:
                is_open = self._go_on()
            except (sqlite3.Error, OSError, StoreError) as error:  # noqa: PERF203 – a fault ends one round
                _log.warning("The store's index could not be written: %s. It is tried again.", error)
                if is_disk_full(error):
                    self._guard.found_full()
                    self._upkeep.hurry()
                is_open = self._recover(is_corruption(error))

    def _go_on(self) -> bool:
        """Do what there is to do next; False when all is done and the indexer closed."""
        for _ in self._resuming:
            if self._is_closed:  # the logs hold what is not indexed yet: the next start goes on
                self._flush()
                return False
        self._await_work()
        if self._is_behind():
            self._hand_over()
            return True
        self._await_wal()
        for one in self._take():
            self._open(one.segment_id)
            self._index(one.frame, one.request, one.body)
            self._flush_if_due()
        self._flush_if_due()
        if self._is_closed and not self._waiting:
            self._finish()
            self.shrink_wal()
            return False
        self._upkeep.work(self)
        self._rest()
        return True

    def _await_work(self) -> None:
        """Return when there are bodies, a flush is due, or something else is to be done."""
        with self._changed:
            wait_s = min(self._upkeep.wait_s(), self._due_s())
            self._changed.wait_for(self._has_work, max(0.0, wait_s))

    def _take(self) -> list[Waiting]:
        """The next bodies, if there are any."""
        with self._changed:
            batch = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
            for one in batch:
                self._waiting_bytes -= len(one.body) if one.body is not None else 0
                self._waiting_items -= one.frame.item_count
            return batch

    def _has_work(self) -> bool:
        return bool(self._waiting) or self._is_closed or self._is_wanted() or not self._upkeep.wait_s()

    def _is_wanted(self) -> bool:
        return self._wanted > self._committed and self._indexed >= self._wanted

    def _flush_if_due(self) -> None:
        if self._is_wanted():
            self._flush()
        super()._flush_if_due()

    def _commit(self, current: SegmentIndex) -> None:
        super()._commit(current)
        self._is_at_rest = False
        with self._changed:
            self._changed.notify_all()

    def _rest(self) -> None:
        """While nothing comes, settle the traces and calls that wait for more."""
        is_quiet = time.monotonic() - self._unflushed_since_s > SETTLE_S + FLUSH_S
        if self._current is not None and is_quiet and not self._is_at_rest and self._indexed == self._committed:
            self._catalogue.settle_edges(time.time_ns())
            self._commit(self._current)
            self._is_at_rest = not len(self._current.directory) and self._catalogue.edges.due_ns() is None

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
                self._reopen(None, is_thorough=is_corrupt)
                return True
            except (sqlite3.Error, OSError, StoreError) as error:
                _log.warning("The store's index could not be opened again: %s.", error)
                is_corrupt |= is_corruption(error)

    def _reopen(self, edges: EdgePairing | None, *, is_thorough: bool) -> None:
        """Open all that was closed, and have the thread catch up with the log, with the calls that are known."""
        self._let_go()
        self._indexed = self._committed = (0, 0)
        self._open_catalogue(is_thorough=is_thorough)
        if edges is not None:
            self._catalogue.go_on_with(edges)
        self._begin_catching_up()

    def _begin_catching_up(self) -> None:
        """Open the first segment that is not wholly indexed; the thread goes on from there."""
        self._is_at_rest = False
        self._upkeep.take_up(self._catalogue)
        self._resuming = self.resume(self._put)
        next(self._resuming, None)

    def _is_behind(self) -> bool:
        with self._changed:
            if self._waiting_items < _BEHIND_ITEMS or time.monotonic() < self._alone_until_s:
                return False
            if not self._upkeep.wait_s():  # first things first: what is under way would have to begin anew
                return False
            return time.time_ns() - self._waiting[0].frame.received_ns >= _BEHIND_S * 1e9

    def _hand_over(self) -> None:
        """Have another process index until less arrives; what it indexed is then open here again."""
        # Loads multiprocessing, which a store that keeps up has no use for.
        from apm_store.sqlite.index_process import Handover, IndexProcess

        self._flush()
        handover = Handover(self._data_dir, self._upkeep.retention, self._catalogue.edges, self._put)
        edges: EdgePairing | None = None
        self._let_go()
        try:
            with closing(IndexProcess(handover)) as process:
                self._follow(process)
                edges = process.stop()
        except StoreError as error:
            _log.warning("The index is written by this process alone for a while: %s.", error)
            self._alone_until_s = time.monotonic() + _ALONE_S
        self._reopen(edges, is_thorough=False)

    def _follow(self, process: IndexProcess) -> None:
        """Tell the other process of what arrives, and all who wait of what it has indexed."""
        arrived, counted_s = 0, time.monotonic()
        heard_s = counted_s
        while True:
            with self._changed:
                until, arrived = self._put, arrived + self._waiting_items
                self._waiting.clear()  # the log holds it
                self._waiting_items = self._waiting_bytes = 0
            process.index(until)
            news = process.news(_NEWS_S)
            if news is not None:
                self._note_news(news)
            now_s, is_done = time.monotonic(), self._committed >= until
            heard_s = now_s if news is not None or is_done else heard_s
            if now_s - heard_s > _STUCK_S:
                raise StoreError(f"the index's process has done nothing for {_STUCK_S:g} s")
            if self._upkeep.is_asked or (self._is_closed and is_done):
                return
            if now_s - counted_s >= _CALM_S:
                if is_done and arrived < _CALM_ITEMS_PER_S * _CALM_S:
                    return
                arrived, counted_s = 0, now_s

    def _note_news(self, news: News) -> None:
        self._upkeep.is_segment_wanted |= news.is_segment_wanted
        with self._changed:
            self._indexed = self._committed = max(self._committed, news.committed)
            self._changed.notify_all()
