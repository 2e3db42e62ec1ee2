"""Writes the index of one segment: bodies, blocks of spans, the directory of traces, log records and data points."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from apm_store.model import Signal
from apm_store.otlp_decode import parse_request
from apm_store.sqlite.block import Block, BlockSpan, pack_block, zones_of
from apm_store.sqlite.body_log import Frame, LogReader
from apm_store.sqlite.connections import connect_writer
from apm_store.sqlite.migrations import SEGMENT
from apm_store.sqlite.segments import SegmentFiles
from apm_store.sqlite.token_filter import build_filter
from apm_store.sqlite.trace_directory import SpanKey, TraceDirectory, bodies_of, rows_of
from apm_store.sqlite.write_traces import request_tokens

BLOCK_SPANS = 4096
"""A block is full when it has as many spans, or is so old."""

_BLOCK_AGE_S = 900.0
_MAX_OPEN_BLOCKS = 16  # every question looks into all of them
_INSERT_BODY = "INSERT OR REPLACE INTO body VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_BLOCK = "INSERT INTO block VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_CACHED_BODIES = 16

TracesOfBody = dict[bytes, list[SpanKey]]


class SegmentIndex:
    """The index of one segment as its only writer sees it; a transaction is open from `begin` to `commit`."""

    def __init__(self, files: SegmentFiles) -> None:
        self.files = files
        self.log = LogReader(files.log)
        self.connection = connect_writer(files.index, SEGMENT)
        self.identity = files.index.stat().st_ino
        """By which it is seen that another file took its place."""
        self._bodies: OrderedDict[int, TracesOfBody] = OrderedDict()
        self._spans: list[BlockSpan] = []
        self._tokens: set[bytes] = set()
        self._on_disk = 0  # how many of the spans lie in open blocks
        self._open_blocks = 0
        self._open_since_s = 0.0
        self.seq, self.offset, _ = self.connection.execute(
            "SELECT seq, offset, first_unsettled_block FROM state"
        ).fetchone()
        self._next_block: int = self._one("SELECT coalesce(max(id), 0) + 1 FROM block")
        self.directory = TraceDirectory(self.connection, self.span_keys)
        self._resume()

    def begin(self) -> None:
        """Open a transaction, unless one is open."""
        if not self.connection.in_transaction:
            self.connection.execute("BEGIN IMMEDIATE")

    def add_body(self, frame: Frame, first_ns: int, last_ns: int, digest: bytes | None) -> None:
        """Note where a body lies; it is then indexed."""
        row = (frame.seq, frame.offset, frame.length, frame.signal.value, frame.received_ns, first_ns, last_ns)
        self.connection.execute(_INSERT_BODY, (*row, frame.item_count, digest))
        self.seq, self.offset = frame.seq, frame.offset + frame.length

    def add_spans(self, spans: Sequence[BlockSpan], tokens: Iterable[bytes], now_s: float) -> None:
        """Put new spans of one body into the block."""
        if not self._spans:
            self._open_since_s = now_s
        self._spans += spans
        self._tokens.update(tokens)
        if len(self._spans) >= BLOCK_SPANS:
            self._close_block()

    def insert_new(self, sql: str, rows: Sequence[tuple[object, ...]]) -> int:
        """Run an INSERT OR IGNORE for many rows and tell how many of them it stored."""
        before = self.connection.total_changes
        self.connection.executemany(sql, rows)
        return self.connection.total_changes - before

    def has_body(self, digest: bytes) -> bool:
        """Whether a body with this digest is indexed."""
        return self.connection.execute("SELECT 1 FROM body WHERE digest = ?", (digest,)).fetchone() is not None

    def commit(self, now_s: float) -> None:
        """Write what was gathered and commit it."""
        self.begin()
        self.directory.settle(now_s, self._next_block)
        if self._spans and now_s - self._open_since_s >= _BLOCK_AGE_S:
            self._close_block()
        else:
            self._write_open_block()
        unsettled = self.directory.first_unsettled_block(self._next_block)
        state = (self.seq, self.offset, unsettled)
        self.connection.execute("UPDATE state SET seq = ?, offset = ?, first_unsettled_block = ?", state)
        self.connection.execute("COMMIT")

    def finish(self, now_s: float) -> None:
        """Commit with every trace written and the last block closed."""
        self.begin()
        self.directory.settle_all()
        if self._spans:
            self._close_block()
        self.commit(now_s)

    def close(self) -> None:
        """Let go of the files; what was not committed is undone."""
        self.connection.close()
        self.log.close()

    def remove(self) -> None:
        """Close the index and delete it, to be built anew from the log."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            self.files.index.with_name(self.files.index.name + suffix).unlink(missing_ok=True)

    def known_spans(self, trace_ids: Sequence[bytes]) -> dict[bytes, set[SpanKey]]:
        """The spans of these traces that a finished segment holds; traces without any are left out."""
        found: dict[bytes, set[SpanKey]] = {}
        for row in rows_of(self.connection, trace_ids):
            found[row[0]] = set(self.span_keys(bodies_of(row), row[0]))
        return found

    def span_keys(self, seqs: Iterable[int], trace_id: bytes) -> Iterable[SpanKey]:
        """Which spans of a trace lie in these bodies."""
        for seq in seqs:
            yield from self._traces_of(seq).get(trace_id, ())

    def _traces_of(self, seq: int) -> TracesOfBody:
        """The spans of a body by trace; the last few bodies are remembered, as those that come again come in order."""
        known = self._bodies.get(seq)
        if known is None:
            known = self._bodies[seq] = self._read_traces(seq)
            if len(self._bodies) > _CACHED_BODIES:
                self._bodies.popitem(last=False)
        return known

    def _read_traces(self, seq: int) -> TracesOfBody:
        traces: TracesOfBody = {}
        row = self.connection.execute("SELECT offset, length FROM body WHERE seq = ?", (seq,)).fetchone()
        for group in parse_request(Signal.TRACES, self.log.body(*row)).resource_spans:
            for scope in group.scope_spans:
                for span in scope.spans:
                    traces.setdefault(span.trace_id, []).append((span.span_id, span.kind))
        return traces

    def _resume(self) -> None:
        """Take up what lies in open blocks, and write the traces that were under way."""
        first = self._one("SELECT first_unsettled_block FROM state")
        rows = self.connection.execute("SELECT data FROM block WHERE id >= ? ORDER BY id", (first,)).fetchall()
        opened = self.connection.execute("SELECT data FROM block WHERE is_open = 1 ORDER BY id").fetchall()
        if not rows and not opened:
            return
        self.begin()
        self.directory.take_in(span for (data,) in rows for span in Block(data).spans())
        self._spans = [span for (data,) in opened for span in Block(data).spans()]
        for seq in sorted({span.seq for span in self._spans}):
            row = self.connection.execute("SELECT offset, length FROM body WHERE seq = ?", (seq,)).fetchone()
            self._tokens |= request_tokens(self.log.body(*row))
        if self._spans:
            self._close_block()
        self.connection.execute("UPDATE state SET first_unsettled_block = ?", (self._next_block,))
        self.connection.execute("COMMIT")

    def _write_open_block(self) -> None:
        if self._open_blocks >= _MAX_OPEN_BLOCKS:
            self._delete_open_blocks()
        added = self._spans[self._on_disk :]
        if added:
            self._insert_block(added, is_open=True)
            self._on_disk = len(self._spans)
            self._open_blocks += 1

    def _close_block(self) -> None:
        """Write the gathered spans as one full block in place of the open ones."""
        self._delete_open_blocks()
        block_id = self._insert_block(self._spans, is_open=False)
        self.connection.execute("INSERT INTO block_filter VALUES (?, ?)", (block_id, build_filter(self._tokens)))
        self._spans, self._tokens = [], set()

    def _delete_open_blocks(self) -> None:
        self.connection.execute("DELETE FROM block WHERE is_open = 1")
        self._on_disk = self._open_blocks = 0

    def _insert_block(self, spans: Sequence[BlockSpan], *, is_open: bool) -> int:
        block_id = self._next_block
        self._next_block += 1
        _, _, _, starts, _, _, _, _, _, _, _, are_entries, seqs = zip(*spans, strict=True)
        measures = (min(seqs), max(seqs), min(starts), max(starts), len(spans), sum(are_entries), is_open)
        self.connection.execute(_INSERT_BLOCK, (block_id, *measures, zones_of(spans), pack_block(spans)))
        return block_id

    @property
    def next_block(self) -> int:
        """The id that the next block gets: what is added now lies in it or in a later one."""
        return self._next_block

    def _one(self, sql: str) -> int:
        value: int = self.connection.execute(sql).fetchone()[0]
        return value
