"""Indexes one body of the log after another: its spans, points or records become searchable with the next commit.

The catalogue is committed before the segment; each remembers how far it has come, and gets at a start what it lacks.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from apm_store.model import Signal
from apm_store.otlp_decode import parse_request
from apm_store.sqlite.bodies import BODY_ERRORS, digest_of
from apm_store.sqlite.body_log import Frame
from apm_store.sqlite.call_recall import recall_calls
from apm_store.sqlite.open_databases import OpenDatabases
from apm_store.sqlite.recovery import is_readable
from apm_store.sqlite.segment_index import SegmentIndex
from apm_store.sqlite.segments import SegmentFiles, segment_ids
from apm_store.sqlite.trace_directory import SpanKey
from apm_store.sqlite.write_logs import INSERT_LOG_RECORD, log_record_rows
from apm_store.sqlite.write_metrics import INSERT_DATA_POINT, data_point_rows
from apm_store.sqlite.write_traces import read_spans

FLUSH_S = 1.0
"""How long an acknowledged body waits at most, while the indexer keeps up, until others can find it."""

_FLUSH_ITEMS = 100_000
_ROW_MAKERS: dict[Signal, tuple[str, int, Callable[..., list[tuple[Any, ...]]]]] = {
    Signal.METRICS: (INSERT_DATA_POINT, 1, data_point_rows),
    Signal.LOGS: (INSERT_LOG_RECORD, 1, log_record_rows),
}
"""The statement that inserts a row, the column of its time, and what makes the rows."""

Position = tuple[int, int]
"""A segment, and the number of a body in its log."""

_log = logging.getLogger(__name__)


class BodyIndexer(OpenDatabases):
    """The indexes of a data directory as their only writer sees them."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self._indexed: Position = (0, 0)
        self._committed: Position = (0, 0)
        self._unflushed_items = 0
        self._unflushed_since_s = 0.0

    def resume(self, until: Position) -> Iterator[None]:
        """Open what is not wholly indexed, the last segment in any case, and index what the logs hold up to a body.

        Gives the caller a word when a segment is open, and between its bodies.
        """
        ids = [segment_id for segment_id in segment_ids(self._data_dir) if segment_id <= until[0]]
        for segment_id in ids:
            files = SegmentFiles(self._data_dir, segment_id)
            if segment_id < self._catalogue.segment_id - 1 and segment_id not in ids[-2:] and is_readable(files.index):
                continue
            self._open(segment_id)
            if self._current is not None and (segment_id, self._current.seq) > self._catalogue_position:
                # The ids in this index are those of another catalogue.
                self._current.remove()
                self._current = SegmentIndex(files)
            yield from self._catch_up(until)

    def _open(self, segment_id: int) -> None:
        """Make a segment the current one; the one before stays open, to know its spans."""
        if self._current is not None and self._current.files.segment_id == segment_id:
            return
        self._finish()
        self._open_segment(segment_id)

    def _catch_up(self, until: Position) -> Iterator[None]:
        """Index the frames of the current segment's log that its index lacks."""
        current = self._current
        assert current is not None
        segment_id = current.files.segment_id
        self._indexed = self._committed = max(self._committed, (segment_id, current.seq))
        yield
        for frame in current.log.frames(current.offset):
            if isinstance(frame, int):
                self._catalogue.begin()
                self._note("warn", f"{frame:,} bytes of {current.files.log} are damaged and were left out.")
                continue
            if (segment_id, frame.seq) > until:
                break
            if (segment_id, frame.seq) > self._catalogue_position:
                yield from self._recall_calls()
            self._index(frame, None, None)
            self._flush_if_due()
            yield
        self._flush()
        if segment_id >= self._catalogue.segment_id:
            yield from self._recall_calls()

    def _recall_calls(self) -> Iterator[None]:
        """Have the catalogue know the calls that waited when it was closed, unless it does."""
        if self._catalogue.lacks_calls:
            self._flush()
            opened = [segment for segment in (self._previous, self._current) if segment is not None]
            yield from recall_calls(self._catalogue, opened)
            self._catalogue.lacks_calls = False

    def _flush_if_due(self) -> None:
        if self._due_s() <= 0 or self._unflushed_items >= _FLUSH_ITEMS:
            self._flush()

    def _due_s(self) -> float:
        """For how long what is indexed may still wait for its commit; infinite when there is nothing."""
        if self._indexed <= self._committed:
            return math.inf
        return self._unflushed_since_s + FLUSH_S - time.monotonic()

    def _flush(self) -> None:
        """Commit what is indexed, if there is something."""
        if self._current is not None and self._indexed > self._committed:
            self._commit(self._current)

    def _commit(self, current: SegmentIndex) -> None:
        """Commit the catalogue, then the segment."""
        if self._indexed >= self._catalogue_position:
            self._catalogue.commit(*self._indexed, current.offset)
        current.commit(time.monotonic())
        self._committed, self._unflushed_items = self._indexed, 0

    def _finish(self) -> None:
        """Leave nothing half done in the current segment."""
        self._flush()
        if self._current is not None:
            self._current.finish(time.monotonic())

    @property
    def _catalogue_position(self) -> Position:
        return self._catalogue.segment_id, self._catalogue.seq

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
        except BODY_ERRORS as error:
            _log.exception("A stored request could not be indexed.")
            self._catalogue.notice("warn", f"A stored request of {frame.signal.value} could not be read: {error!r}.")
            current.add_body(frame, frame.received_ns, frame.received_ns, None)
        if not self._is_counted(current, frame):
            self._catalogue.settle_edges(frame.received_ns)
        self._indexed = position
        self._unflushed_items += frame.item_count

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
