"""Reads a segment: the index over its log, and the bodies in the log.

Its questions are plain SQL over `sqlite3`: they are few, all known, and asked once per segment, so that compiling
them from expressions each time would cost more than running them.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from apm_store.api import StoreError, StoreTimeoutError
from apm_store.model import Signal
from apm_store.otlp_decode import parse_request
from apm_store.sqlite.block import Block, Zone, read_zones
from apm_store.sqlite.bodies import place_of
from apm_store.sqlite.body_log import LogReader
from apm_store.sqlite.connections import connect_reader
from apm_store.sqlite.migrations import SEGMENT
from apm_store.sqlite.segments import SegmentFiles

STEPS_PER_CHECK = 10_000
"""Steps of SQLite's virtual machine between looks at the clock: well below a millisecond."""

SWEEP_S = 5.0
"""How often idle segments are let go of that were removed."""

_IDLE_SEGMENTS = 32
_CACHE_KIB = 512  # of pages; the kernel holds more of them, and 32 segments must not take much
_STATE = "SELECT first_unsettled_block FROM state"
_PLACE = "SELECT offset, length FROM body WHERE seq = ?"
_BLOCK = "SELECT data FROM block WHERE id = ?"
_HEADS = (
    "SELECT id, first_seq, last_seq, first_ns, last_ns, span_count, entry_count, is_open, zones FROM block "
    "WHERE id > ? ORDER BY id"
)

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, eq=False)
class BlockHead:
    """What is known of a block before it is read.

    `first_ns` and `last_ns` are starts of its spans, `max_ns` is the longest duration of an entry span, -1 for none.
    """

    segment_id: int
    block_id: int
    first_seq: int
    last_seq: int
    first_ns: int
    last_ns: int
    span_count: int
    entry_count: int
    is_open: bool
    zones: tuple[Zone, ...]
    max_ns: int

    @property
    def is_kept(self) -> bool:
        """Whether its spans are those of traces that were kept when their segment was dropped."""
        return self.segment_id < 0


def _head(segment_id: int, row: Row) -> BlockHead:
    zones = tuple(read_zones(row[-1]))
    return BlockHead(*(segment_id, *row[:-1], zones, max((zone.max_ns for zone in zones), default=-1)))


class OpenSegment:
    """A reading connection to a segment's index, and its log."""

    def __init__(self, files: SegmentFiles, identity: int) -> None:
        self.segment_id = files.segment_id
        self.log_path = files.log
        self.identity = identity
        self.full_blocks: list[BlockHead] = []
        self.connection = connect_reader(files.index, SEGMENT)
        try:
            self.connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self.log = LogReader(files.log)
        except OSError:
            self.connection.close()
            raise

    def close(self) -> None:
        """Let go of both files."""
        self.connection.close()
        self.log.close()


class SegmentPool:
    """Keeps some segments open between questions."""

    def __init__(self) -> None:
        self._idle: list[OpenSegment] = []
        self._lock = threading.Lock()
        self._sweep_s = 0.0
        self._is_closed = False

    def take(self, files: SegmentFiles) -> OpenSegment | None:
        """A segment to read alone; None when it was removed in between. Raises StoreError when it cannot be read."""
        try:
            identity = files.index.stat().st_ino  # an index that was built anew is another file
            with self._lock:
                for segment in self._idle:
                    if (segment.segment_id, segment.identity) == (files.segment_id, identity):
                        self._idle.remove(segment)
                        return segment
            return OpenSegment(files, identity)
        except FileNotFoundError:
            return None
        except sqlite3.Error as error:
            if not files.index.exists():
                return None
            raise StoreError(f"{files.index} could not be opened for reading: {error}.") from error
        except OSError as error:
            raise StoreError(f"{files.log} could not be opened for reading: {error.strerror}.") from error

    def give_back(self, segment: OpenSegment, *, is_gone: bool) -> None:
        """Keep a segment for the next question, unless it was removed or is too many."""
        dropped = [segment]
        with self._lock:
            if not is_gone and not self._is_closed:
                self._idle.append(segment)
                dropped = self._idle[:-_IDLE_SEGMENTS]
                del self._idle[:-_IDLE_SEGMENTS]
            if time.monotonic() >= self._sweep_s:  # one that was removed would keep its space from the disk
                self._sweep_s = time.monotonic() + SWEEP_S
                dropped += [one for one in self._idle if not one.log_path.exists()]
                self._idle = [one for one in self._idle if one not in dropped]
        for each in dropped:
            each.close()

    def close(self) -> None:
        """Close the segments that are idle now, and the others as soon as they are given back."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for segment in idle:
            segment.close()


class SegmentSnapshot:
    """One question's view of a segment; it does not change while it is used.

    Traces in blocks from `first_unsettled_block` on may be missing, or lack these parts, in the table `trace`.
    """

    def __init__(self, segment: OpenSegment, is_late: Callable[[], bool]) -> None:
        self.segment_id = segment.segment_id
        self.log_path = segment.log_path
        self.identity = segment.identity
        self._segment = segment
        self._connection = segment.connection
        self._log = segment.log
        self._is_late = is_late
        self._heads: list[BlockHead] | None = None
        self._connection.set_progress_handler(is_late, STEPS_PER_CHECK)
        self._connection.execute("BEGIN")
        self.first_unsettled_block: int = self.execute(_STATE)[0][0]

    def block_heads(self) -> list[BlockHead]:
        """All blocks in order of their bodies; those full blocks that are known are not read anew."""
        if self._heads is None:
            known = self._segment.full_blocks  # a full block never changes, and later ones have greater ids
            rows = self.execute(_HEADS, (known[-1].block_id if known else 0,))
            new = [_head(self.segment_id, row) for row in rows]
            known.extend(head for head in new if not head.is_open)
            self._heads = [*known, *(head for head in new if head.is_open)]
        return self._heads

    def block(self, block_id: int) -> Block:
        """The columns of a block."""
        return Block(self.execute(_BLOCK, (block_id,))[0][0])

    def execute(self, sql: str, parameters: Collection[Any] = ()) -> list[Row]:
        """All rows of a SELECT; raises StoreTimeoutError or StoreError."""
        try:
            return self._connection.execute(sql, tuple(parameters)).fetchall()
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def stream(self, sql: str, parameters: Collection[Any] = ()) -> Iterator[Row]:
        """The rows of a SELECT, fetched as they are taken."""
        try:
            yield from self._connection.execute(sql, tuple(parameters))
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def body(self, seq: int) -> bytes:
        """A request as it was received; raises StoreError when the log is damaged there."""
        [(offset, length)] = self.execute(_PLACE, (seq,))
        return self.body_at(offset, length)

    def body_at(self, offset: int, length: int) -> bytes:
        """A request by its place in the log; raises StoreError when the log is damaged there."""
        return self._log.body(offset, length)

    def requests(self, signal: Signal, items: Collection[int]) -> Iterator[tuple[int, Any, set[int]]]:
        """The requests that hold the items with these ids: (seq, request, positions of the items)."""
        for seq, places in groupby(sorted(map(place_of, items)), lambda place: place[0]):
            if self._is_late():
                raise StoreTimeoutError
            yield seq, parse_request(signal, self.body(seq)), {position for _, position in places}

    def end(self) -> None:
        """Let the view go."""
        self._connection.set_progress_handler(None, 0)
        self._connection.execute("COMMIT")

    def _explained(self, error: sqlite3.Error) -> StoreError:
        return StoreTimeoutError() if self._is_late() else StoreError(f"The store could not be read: {error}.")
