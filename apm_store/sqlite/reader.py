"""Reading connections, each question in one snapshot of the store and within a time limit.

Questions to the catalogue are composed of many conditions and so are written in SQLAlchemy Core; those to the
segments are plain SQL, see `segment_reader`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Select, create_engine, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

from apm_store.api import StoreError, StoreTimeoutError
from apm_store.model import Signal
from apm_store.sqlite.block import Block
from apm_store.sqlite.block_cache import BlockCache, Key
from apm_store.sqlite.bodies import clamp
from apm_store.sqlite.connections import connect_reader
from apm_store.sqlite.migrations import CATALOGUE
from apm_store.sqlite.schema import segment as segment_table
from apm_store.sqlite.segment_reader import STEPS_PER_CHECK, BlockHead, OpenSegment, SegmentPool, SegmentSnapshot
from apm_store.sqlite.segments import CATALOGUE_NAME, SegmentFiles

_HELD_BLOCKS = 128  # 24 MB while a question is answered: the first ones that it reads are those that it needs again
_ITEM_COUNTS = {
    Signal.TRACES: segment_table.c.spans,
    Signal.METRICS: segment_table.c.data_points,
    Signal.LOGS: segment_table.c.log_records,
}


class Snapshot:
    """One question's view of the store; what is asked through it ends with StoreTimeoutError when it is late.

    The segments are seen as they are when the first of them is opened. The catalogue is then seen anew, so that it
    knows every name that the segments use.
    """

    def __init__(
        self, connection: Connection, data_dir: Path, pool: SegmentPool, cache: BlockCache, limit_s: float
    ) -> None:
        self._cache = cache
        self._connection = connection
        self._data_dir = data_dir
        self._pool = pool
        self._start_s = time.monotonic()
        self._limit_s = limit_s
        self._share = 1.0
        self._taken: dict[int, tuple[OpenSegment, SegmentSnapshot] | None] = {}
        self._held: dict[Key, Block] = {}

    @contextmanager
    def within(self, share: float) -> Iterator[None]:
        """Give up at a share of the time limit (counted from the start of the question), leaving time for the rest."""
        self._share = share
        try:
            yield
        finally:
            self._share = 1.0

    def is_late(self) -> bool:
        """Whether the time is over."""
        return self.has_used(self._share)

    def has_used(self, share: float) -> bool:
        """Whether a share of the time limit is over."""
        return time.monotonic() - self._start_s > self._limit_s * share

    def check(self) -> None:
        """Raise StoreTimeoutError when the time is over; for work between SELECTs."""
        if self.is_late():
            raise StoreTimeoutError

    def stream(self, question: Select[Any]) -> Iterator[Row[Any]]:
        """The rows of a SELECT from the catalogue, fetched as they are taken."""
        try:
            with self._connection.execute(question) as result:
                yield from result
        except DBAPIError as error:
            raise self._explained(error) from error

    def rows(self, question: Select[Any]) -> list[Row[Any]]:
        """All rows of a SELECT from the catalogue, fetched at once, which costs half."""
        try:
            with self._connection.execute(question) as result:
                return list(result.all())
        except DBAPIError as error:
            raise self._explained(error) from error

    def segments(self, first_ns: int, last_ns: int, signal: Signal) -> list[SegmentSnapshot]:
        """The segments that may hold items of a signal between two times (both included), newest first.

        Segments that are removed meanwhile are left out.
        """
        columns = segment_table.c
        is_between = (columns.first_ns <= clamp(last_ns)) & (columns.last_ns >= clamp(first_ns))
        wanted = (is_between, _ITEM_COUNTS[signal] > 0)
        ids = [row.id for row in self.rows(select(columns.id).where(*wanted).order_by(columns.id.desc()))]
        untaken = [segment_id for segment_id in ids if segment_id not in self._taken]
        for segment_id in untaken:
            self._take(segment_id)
        if untaken:
            self._connection.exec_driver_sql("COMMIT")
            self._connection.exec_driver_sql("BEGIN")
        return [taken[1] for taken in map(self._taken.__getitem__, ids) if taken is not None]

    def segment(self, segment_id: int) -> SegmentSnapshot:
        """One of the segments that `segments` gave."""
        taken = self._taken[segment_id]
        assert taken is not None, "a segment that is gone was never given"
        return taken[1]

    def block(self, head: BlockHead) -> Block:
        """A block of one of the segments."""
        segment = self.segment(head.segment_id)
        key = (head.segment_id, segment.identity, head.block_id)
        block = self._held.get(key)
        if block is None:
            block = None if head.is_open else self._cache.get(key)
            if block is None:
                block = segment.block(head.block_id)
                if not head.is_open:
                    self._cache.add(key, block)
            if len(self._held) < _HELD_BLOCKS:
                self._held[key] = block
        return block

    def end(self) -> None:
        """Let the segments go; those that were removed meanwhile are closed."""
        for taken in self._taken.values():
            if taken is not None:
                opened, view = taken
                view.end()
                is_gone = not SegmentFiles(self._data_dir, opened.segment_id).index.exists()
                self._pool.give_back(opened, is_gone=is_gone)
        self._taken.clear()
        self._held.clear()

    def _take(self, segment_id: int) -> None:
        """Open a segment, if it is still there."""
        self._taken[segment_id] = None
        opened = self._pool.take(SegmentFiles(self._data_dir, segment_id))
        if opened is None:
            return
        try:
            self._taken[segment_id] = (opened, SegmentSnapshot(opened, self.is_late))
        except StoreError:
            opened.close()
            raise

    def _explained(self, error: DBAPIError) -> StoreError:
        return StoreTimeoutError() if self.is_late() else StoreError(f"The store could not be read: {error.orig}.")


class Reader:
    """A pool of reading connections to the store in one data directory."""

    def __init__(self, data_dir: Path, limit_s: float) -> None:
        self._data_dir = data_dir
        self._path = data_dir / CATALOGUE_NAME
        self._identity = 0
        self._limit_s = limit_s
        self._segments = SegmentPool()
        self._cache = BlockCache()
        self.engine = create_engine(
            "sqlite://",
            creator=partial(connect_reader, self._path, CATALOGUE),
            poolclass=QueuePool,
            pool_size=4,
            max_overflow=12,
            pool_timeout=limit_s,
        )

    @contextmanager
    def snapshot(self, patience: float = 1.0) -> Iterator[Snapshot]:
        """A view of the store that does not change while it is used; `patience` stretches the time limit."""
        self._follow()
        try:
            connection = self.engine.connect()
        except PoolTimeoutError as error:
            raise StoreTimeoutError from error
        except DBAPIError as error:
            raise StoreError(f"The store could not be opened for reading: {error.orig}.") from error
        with connection:
            snapshot = Snapshot(connection, self._data_dir, self._segments, self._cache, self._limit_s * patience)
            driver: Any = connection.connection.dbapi_connection
            connection.exec_driver_sql("BEGIN")
            driver.set_progress_handler(snapshot.is_late, STEPS_PER_CHECK)
            try:
                yield snapshot
            finally:
                driver.set_progress_handler(None, 0)
                snapshot.end()

    def _follow(self) -> None:
        """Let go of a catalogue that was set aside and built anew, which makes it another file."""
        try:
            identity = self._path.stat().st_ino
        except FileNotFoundError:
            raise StoreError(f"The store's file {self._path} is gone.") from None
        if identity != self._identity:
            self._identity = identity
            self.engine.dispose()

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        self._segments.close()
