"""Keeps the notable traces of a segment that is about to be dropped: the slowest, the failed and the rare ones.

They are copied into a kept segment, which has the layout of every other.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Collection, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson

from apm_store.model import Signal
from apm_store.otlp_decode import parse_request
from apm_store.sqlite.block import Block
from apm_store.sqlite.body_log import BodyLog, Frame, LogReader, encode_frame, pack
from apm_store.sqlite.catalogue import Catalogue
from apm_store.sqlite.connections import connect_reader
from apm_store.sqlite.dictionaries import Dictionaries
from apm_store.sqlite.migrations import SEGMENT
from apm_store.sqlite.recovery import is_readable
from apm_store.sqlite.segment_index import SegmentIndex
from apm_store.sqlite.segments import SegmentFiles, kept_ids, size_of, sync_directory
from apm_store.sqlite.trace_directory import SpanKey
from apm_store.sqlite.write_traces import read_spans

SLOWEST = 5
"""So many of the slowest traces of each root operation are kept; a root operation seen less often is kept whole."""

RARE = 3
"""Traces with an operation that the segment has in no more spans are kept."""

_BODY_BYTES = 1024 * 1024
_PARAMETERS = 500
_RANKED = """
SELECT trace_id, span_count, error_count > 0,
    row_number() OVER (PARTITION BY root_service_id, root_operation_id ORDER BY last_ns - first_ns DESC),
    row_number() OVER (PARTITION BY root_service_id, root_operation_id, error_count > 0 ORDER BY first_ns)
FROM trace
"""
_SPANS = "SELECT coalesce(sum(span_count), 0), min(first_ns), max(last_ns) FROM block"
_RECEIVED = "SELECT min(received_ns), max(received_ns) FROM body"


class KeptSegment:
    """The kept segment that is written; `names` must be in an open transaction when a name may be new."""

    def __init__(self, data_dir: Path, segment_id: int, names: Dictionaries) -> None:
        files = SegmentFiles(data_dir, segment_id)
        self.segment_id = segment_id
        self._names = names
        files.directory.mkdir(mode=0o700, exist_ok=True)
        self._log = BodyLog(files.log)
        sync_directory(files.directory.parent)
        sync_directory(files.directory)
        self._index = SegmentIndex(files)
        self._catch_up()

    def append(self, request: Any, received_ns: int) -> None:
        """Store a request of whole traces; those of its spans that are kept already stay as they are."""
        body = request.SerializeToString()
        seq = self._index.seq + 1
        items = sum(len(scope.spans) for group in request.resource_spans for scope in group.scope_spans)
        data = encode_frame(seq, Signal.TRACES, received_ns, items, pack(body))
        [offset] = self._log.append([data])
        self._add(Frame(offset, len(data), seq, received_ns, items, Signal.TRACES), request, body)

    def commit(self) -> None:
        """Make what was appended findable."""
        self._index.finish(time.monotonic())

    def totals(self) -> tuple[int, int | None, int | None, int | None, int | None]:
        """How many spans it holds, between which starts, and between which times they were received."""
        execute = self._index.connection.execute
        return (*execute(_SPANS).fetchone(), *execute(_RECEIVED).fetchone())

    def trace_count(self) -> int:
        """How many traces it holds."""
        count: int = self._index.connection.execute("SELECT count(*) FROM trace").fetchone()[0]
        return count

    def close(self) -> None:
        """Let go of the files; what was not committed comes to be found when it is opened again."""
        self._index.close()
        self._log.close()

    def _add(self, frame: Frame, request: Any, body: bytes) -> None:
        self._index.begin()
        found = read_spans(self._names, request, body, frame.seq, frame.received_ns)
        now_s = time.monotonic()
        new = self._index.directory.new_spans(found.spans, self._index.next_block, now_s, _known_nowhere)
        if new:
            self._index.add_spans(new, found.tokens, now_s)
        starts = [span.start_ns for span in found.spans]
        self._index.add_body(frame, min(starts), max(starts), None)

    def _catch_up(self) -> None:
        """Index what the log has and the index lacks, and cut off what is not whole."""
        end = self._index.offset
        for frame in self._index.log.frames(end):
            if isinstance(frame, Frame):
                body = self._index.log.body(frame.offset, frame.length)
                self._add(frame, parse_request(Signal.TRACES, body), body)
                end = frame.offset + frame.length
        if end < self._log.size:
            self._log.truncate(end)


def next_kept(data_dir: Path, max_bytes: int) -> int:
    """The id of the kept segment to write to: the newest, or a new one when its log has as many bytes."""
    ids = kept_ids(data_dir)
    if not ids:
        return -1
    return ids[-1] if size_of(SegmentFiles(data_dir, ids[-1]).log) < max_bytes else ids[-1] - 1


def relist_kept(data_dir: Path, catalogue: Catalogue) -> None:
    """Index and list the kept segments anew that a new catalogue does not know."""
    listed = {segment_id for (segment_id,) in catalogue.rows("SELECT id FROM segment WHERE is_kept = 1")}
    for segment_id in kept_ids(data_dir):
        files = SegmentFiles(data_dir, segment_id)
        if segment_id in listed and is_readable(files.index):
            continue
        for suffix in ("", "-wal", "-shm"):  # its ids are those of another catalogue
            files.index.with_name(files.index.name + suffix).unlink(missing_ok=True)
        catalogue.begin()
        with closing(KeptSegment(data_dir, segment_id, catalogue.names)) as kept:
            catalogue.connection.execute("COMMIT")
            kept.commit()
            catalogue.set_kept(segment_id, *kept.totals())


def keep_notable(source: SegmentFiles, kept: KeptSegment, max_bytes: int) -> Generator[None, None, None]:
    """Copy the notable traces of a segment, as many as `max_bytes` of its log hold; the work is done in small steps."""
    with closing(connect_reader(source.index, SEGMENT)) as index, closing(LogReader(source.log)) as log:
        wanted = notable_traces(index, max_bytes / max(1, source.log.stat().st_size))
        yield
        gathered: Any = None
        first_ns = 0
        for seq, trace_ids in _bodies(index, wanted):
            offset, length, received_ns = index.execute(
                "SELECT offset, length, received_ns FROM body WHERE seq = ?", (seq,)
            ).fetchone()
            request = parse_request(Signal.TRACES, log.body(offset, length))
            part = _spans_of(request, trace_ids)
            if gathered is None:
                gathered, first_ns = part, received_ns
            else:
                gathered.MergeFrom(part)
            if gathered.ByteSize() >= _BODY_BYTES:
                kept.append(gathered, first_ns)
                gathered = None
            yield
        if gathered is not None:
            kept.append(gathered, first_ns)
        kept.commit()


def notable_traces(index: sqlite3.Connection, share: float) -> list[bytes]:
    """The notable traces of a segment, up to a share of its spans.

    The first failed and the slowest trace of every root operation go first, with the rare ones; then the next of each.
    """
    rare = _rare_traces(index)
    ranked: list[tuple[int, bytes, int]] = []
    spans = 0
    for trace_id, span_count, has_failed, slow_rank, failed_rank in index.execute(_RANKED):
        spans += span_count
        ranks = [slow_rank] if slow_rank <= SLOWEST else []
        ranks += [failed_rank] if has_failed else []
        ranks += [1] if trace_id in rare else []
        if ranks:
            ranked.append((min(ranks), trace_id, span_count))
    ranked.sort()
    room = spans * share
    found = []
    for _, trace_id, span_count in ranked:
        if span_count <= room:
            found.append(trace_id)
            room -= span_count
    return found


def _rare_traces(index: sqlite3.Connection) -> set[bytes]:
    """The traces with spans of operations that hardly occur."""
    counts: Counter[tuple[int, int]] = Counter()
    for (data,) in index.execute("SELECT data FROM block"):
        block = Block(data)
        counts.update(zip(block.service_id.tolist(), block.operation_id.tolist(), strict=True))
    rare = {key for key, count in counts.items() if count <= RARE}
    found: set[bytes] = set()
    for (data,) in index.execute("SELECT data FROM block") if rare else ():
        block = Block(data)
        keys = zip(block.service_id.tolist(), block.operation_id.tolist(), strict=True)
        found.update(block.trace_id(row) for row, key in enumerate(keys) if key in rare)
    return found


def _bodies(index: sqlite3.Connection, trace_ids: Sequence[bytes]) -> list[tuple[int, set[bytes]]]:
    """The bodies that hold spans of these traces, in the order of the log, each with which of them."""
    found: dict[int, set[bytes]] = {}
    for at in range(0, len(trace_ids), _PARAMETERS):
        chunk = trace_ids[at : at + _PARAMETERS]
        marks = ",".join("?" * len(chunk))
        sql = f"SELECT trace_id, bodies FROM trace WHERE trace_id IN ({marks})"  # noqa: S608 – question marks alone
        for trace_id, bodies in index.execute(sql, chunk):
            for seq, _, _ in orjson.loads(bodies):
                found.setdefault(seq, set()).add(trace_id)
    return sorted(found.items())


def _spans_of(request: Any, trace_ids: Collection[bytes]) -> Any:
    """The request with the spans of these traces alone."""
    for group in request.resource_spans:
        for scope in group.scope_spans:
            spans = [span for span in scope.spans if span.trace_id in trace_ids]
            if len(spans) < len(scope.spans):
                del scope.spans[:]
                scope.spans.extend(spans)
        _keep(group.scope_spans, [scope for scope in group.scope_spans if scope.spans])
    _keep(request.resource_spans, [group for group in request.resource_spans if group.scope_spans])
    return request


def _keep(repeated: Any, wanted: list[Any]) -> None:
    if len(wanted) < len(repeated):
        del repeated[:]
        repeated.extend(wanted)


def _known_nowhere(_: Sequence[bytes]) -> dict[bytes, set[SpanKey]]:
    return {}
