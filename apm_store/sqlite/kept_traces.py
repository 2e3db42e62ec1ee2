"""Keeps the notable traces of a segment that is about to be dropped: the slowest, the failed and the rare ones.

They are copied with their log records into a kept segment, which has the layout of every other.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import orjson

from apm_store.model import Signal
from apm_store.otlp_decode import parse_request
from apm_store.sqlite.block import Block
from apm_store.sqlite.bodies import digest_of, place_of
from apm_store.sqlite.body_log import BodyLog, Frame, LogReader, encode_frame, pack
from apm_store.sqlite.catalogue import Catalogue
from apm_store.sqlite.connections import connect_reader
from apm_store.sqlite.dictionaries import Dictionaries
from apm_store.sqlite.migrations import SEGMENT
from apm_store.sqlite.recovery import is_readable
from apm_store.sqlite.segment_index import SegmentIndex
from apm_store.sqlite.segments import SegmentFiles, kept_ids, size_of, sync_directory
from apm_store.sqlite.trace_directory import SpanKey
from apm_store.sqlite.write_logs import INSERT_LOG_RECORD, log_record_rows
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
_LOG_RECORDS = "SELECT count(*), min(time_ns), max(time_ns) FROM log_record"
_TRACE_BYTES = "SELECT coalesce(sum(length), 0) FROM body WHERE signal = ?"
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

    @property
    def size(self) -> int:
        """The bytes of its log."""
        return self._log.size

    def append(self, signal: Signal, request: Any, received_ns: int) -> None:
        """Store a request of spans or log records; what is kept already stays as it is."""
        body = request.SerializeToString()
        seq = self._index.seq + 1
        items = _item_count(signal, request)
        data = encode_frame(seq, signal, received_ns, items, pack(body))
        [offset] = self._log.append([data])
        self._add(Frame(offset, len(data), seq, received_ns, items, signal), request, body)

    def commit(self) -> None:
        """Make what was appended findable."""
        self._index.finish(time.monotonic())

    def totals(self) -> tuple[int, int, int | None, int | None, int | None, int | None]:
        """How many spans and log records it holds, between which times, and between which they were received."""
        execute = self._index.connection.execute
        spans, *span_times = execute(_SPANS).fetchone()
        records, *record_times = execute(_LOG_RECORDS).fetchone()
        times = [time_ns for time_ns in (*span_times, *record_times) if time_ns is not None]
        first_ns, last_ns = (min(times), max(times)) if times else (None, None)
        return (spans, records, first_ns, last_ns, *execute(_RECEIVED).fetchone())

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
        add = self._add_spans if frame.signal is Signal.TRACES else self._add_log_records
        add(frame, request, body)

    def _add_log_records(self, frame: Frame, request: Any, body: bytes) -> None:
        digest = digest_of(frame.signal, body)
        is_again = self._index.has_body(digest)
        rows = [] if is_again else log_record_rows(self._names, request, frame.seq, frame.received_ns)
        self._index.insert_new(INSERT_LOG_RECORD, rows)
        times = [time_ns for _, time_ns, *_ in rows] or [frame.received_ns]
        self._index.add_body(frame, min(times), max(times), None if is_again else digest)

    def _add_spans(self, frame: Frame, request: Any, body: bytes) -> None:
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
                self._add(frame, parse_request(frame.signal, body), body)
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
    """Copy the notable traces of a segment with their log records, in small steps.

    The traces are as many as `max_bytes` of its log hold, the log records what there is room for after them.
    """
    with closing(connect_reader(source.index, SEGMENT)) as index, closing(LogReader(source.log)) as log:
        end = kept.size + max_bytes
        [(trace_bytes,)] = index.execute(_TRACE_BYTES, (Signal.TRACES.value,))
        wanted = notable_traces(index, max_bytes / max(1, trace_bytes))
        yield
        for signal, bodies, cut in (
            (Signal.TRACES, _bodies(index, wanted), _spans_of),
            (Signal.LOGS, _log_bodies(index, wanted), _log_records_of),
        ):
            for request, received_ns in _gathered(_parts(index, log, signal, bodies, cut), max_bytes // 4):
                if request is not None and (signal is Signal.TRACES or kept.size < end):
                    kept.append(signal, request, received_ns)
                yield
        kept.commit()


def _parts(
    index: sqlite3.Connection,
    log: LogReader,
    signal: Signal,
    bodies: Iterable[tuple[int, Collection[Any]]],
    cut: Callable[[Any, Collection[Any]], Any],
) -> Iterator[tuple[Any, int]]:
    """What is wanted of each of these bodies, cut out by `cut`, with when it was received."""
    for seq, wanted in bodies:
        row = index.execute("SELECT offset, length, received_ns FROM body WHERE seq = ?", (seq,)).fetchone()
        offset, length, received_ns = row
        yield cut(parse_request(signal, log.body(offset, length)), wanted), received_ns


def _gathered(parts: Iterable[tuple[Any, int]], size: int) -> Iterator[tuple[Any | None, int]]:
    """Parts of requests as larger ones of some size, each with the time of its first part; None for each that grew."""
    gathered: Any = None
    first_ns = 0
    for part, received_ns in parts:
        if gathered is None:
            gathered, first_ns = part, received_ns
        else:
            gathered.MergeFrom(part)
        if gathered.ByteSize() >= min(size, _BODY_BYTES):
            yield gathered, first_ns
            gathered = None
        else:
            yield None, 0
    if gathered is not None:
        yield gathered, first_ns


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


def _log_bodies(index: sqlite3.Connection, trace_ids: Sequence[bytes]) -> list[tuple[int, set[int]]]:
    """The bodies that hold log records of these traces, in the order of the log, each with their positions."""
    found: dict[int, set[int]] = {}
    for at in range(0, len(trace_ids), _PARAMETERS):
        chunk = trace_ids[at : at + _PARAMETERS]
        marks = ",".join("?" * len(chunk))
        for (item,) in index.execute(f"SELECT id FROM log_record WHERE trace_id IN ({marks})", chunk):  # noqa: S608 – question marks alone
            seq, position = place_of(item)
            found.setdefault(seq, set()).add(position)
    return sorted(found.items())


def _spans_of(request: Any, trace_ids: Collection[bytes]) -> Any:
    """The request with the spans of these traces alone."""
    for group in request.resource_spans:
        for scope in group.scope_spans:
            _keep(scope.spans, [span for span in scope.spans if span.trace_id in trace_ids])
        _keep(group.scope_spans, [scope for scope in group.scope_spans if scope.spans])
    _keep(request.resource_spans, [group for group in request.resource_spans if group.scope_spans])
    return request


def _log_records_of(request: Any, positions: Collection[int]) -> Any:
    """The request with the log records at these positions alone."""
    places = count()
    for group in request.resource_logs:
        for scope in group.scope_logs:
            _keep(
                scope.log_records, [one for one, at in zip(scope.log_records, places, strict=False) if at in positions]
            )
        _keep(group.scope_logs, [scope for scope in group.scope_logs if scope.log_records])
    _keep(request.resource_logs, [group for group in request.resource_logs if group.scope_logs])
    return request


def _item_count(signal: Signal, request: Any) -> int:
    if signal is Signal.TRACES:
        return sum(len(scope.spans) for group in request.resource_spans for scope in group.scope_spans)
    return sum(len(scope.log_records) for group in request.resource_logs for scope in group.scope_logs)


def _keep(repeated: Any, wanted: list[Any]) -> None:
    if len(wanted) < len(repeated):
        del repeated[:]
        repeated.extend(wanted)


def _known_nowhere(_: Sequence[bytes]) -> dict[bytes, set[SpanKey]]:
    return {}
