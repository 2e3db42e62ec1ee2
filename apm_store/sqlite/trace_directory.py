"""Which bodies hold the spans of a trace, and the trace's summary; knows every span of the traces that are under way.

A trace is written when it has been quiet for a while, and again when late spans come.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import orjson

from apm_store.sqlite.block import FAILED, NO_PARENT, BlockSpan
from apm_store.sqlite.bodies import MAX_INT

SETTLE_S = 10.0
"""How long a trace must be quiet: twice the 5 s after which SDKs send what they gathered."""

_LONGEST_S = 60.0  # a trace that never becomes quiet is written so often: readers look through all blocks since
_MAX_UNSETTLED = 25_000  # about 60 MB at 8 spans each
_PARAMETERS = 500
_SELECT = "SELECT * FROM trace WHERE trace_id IN ({})"
_REPLACE = "INSERT OR REPLACE INTO trace VALUES (?, ?, ?, ?, ?, ?, ?, ?)"

SpanKey = tuple[bytes, int]
"""Span id and kind: what tells the spans of a trace apart."""


@dataclass(slots=True)
class TraceState:
    """One trace: where its spans lie, and what is known of them.

    `bodies` are the numbers of bodies, each with how many spans and how many errors of the trace it holds.
    """

    first_ns: int = 1 << 63
    last_ns: int = 0
    root_service_id: int = 0
    root_operation_id: int = 0
    bodies: list[tuple[int, int, int]] = field(default_factory=list)
    known: set[SpanKey] = field(default_factory=set)
    first_block: int = 0
    since_s: float = 0.0
    touched_s: float = 0.0

    def row(self, trace_id: bytes) -> tuple[bytes | int, ...]:
        """The trace as a row of its table."""
        spans = errors = 0
        for _, span_count, error_count in self.bodies:
            spans += span_count
            errors += error_count
        last_ns = min(self.last_ns, MAX_INT)
        root = (self.root_service_id, self.root_operation_id)
        return trace_id, self.first_ns, last_ns, spans, errors, *root, orjson.dumps(self.bodies)


class TraceDirectory:
    """The traces of the segment that is being written; `connection` is the writer's to its index.

    `span_keys(seqs, trace_id)` tells which spans of a trace lie in bodies of this segment; `is_known_before` does so
    for the segment before.
    """

    def __init__(
        self, connection: sqlite3.Connection, span_keys: Callable[[Iterable[int], bytes], Iterable[SpanKey]]
    ) -> None:
        self._connection = connection
        self._span_keys = span_keys
        self._traces: dict[bytes, TraceState] = {}

    def __len__(self) -> int:
        return len(self._traces)

    def new_spans(
        self,
        spans: Sequence[BlockSpan],
        block_id: int,
        now_s: float,
        known_elsewhere: Callable[[Sequence[bytes]], dict[bytes, set[SpanKey]]],
    ) -> list[BlockSpan]:
        """Those of a body's spans that no earlier body holds; they are taken in."""
        traces = self._traces
        trace_ids = dict.fromkeys([span[0] for span in spans])
        missing = [trace_id for trace_id in trace_ids if trace_id not in traces]
        if missing:
            self._load(missing, known_elsewhere(missing), block_id, now_s)
        new = _add(traces, spans)
        for trace_id in trace_ids:
            traces[trace_id].touched_s = now_s
        return new

    def settle(self, now_s: float, next_block: int) -> None:
        """Write the traces that have been quiet for long, and the oldest of too many, and let go of them.

        Traces that go on and on are written as they are; what comes to them later lies in `next_block` or behind.
        """
        quiet = [trace_id for trace_id, trace in self._traces.items() if now_s - trace.touched_s >= SETTLE_S]
        excess = len(self._traces) - len(quiet) - _MAX_UNSETTLED
        if excess > 0:
            gone = set(quiet)
            quiet += islice((trace_id for trace_id in self._traces if trace_id not in gone), excess)
        self._write(quiet)
        self._write_long_ones(now_s, next_block)

    def settle_all(self) -> None:
        """Write every trace and let go of it."""
        self._write(list(self._traces))

    def first_unsettled_block(self, next_block: int) -> int:
        """The first block in which spans of a trace may lie that is not written yet."""
        return min((trace.first_block for trace in self._traces.values()), default=next_block)

    def take_in(self, spans: Iterable[BlockSpan]) -> None:
        """Take in spans that lie in blocks already, of which the table may know; settles at once."""
        bodies: dict[int, list[BlockSpan]] = {}
        for span in spans:
            bodies.setdefault(span.seq, []).append(span)
        trace_ids = {span.trace_id: None for one in bodies.values() for span in one}
        rows = self._rows(list(trace_ids))
        written = {trace_id: {seq for seq, _, _ in state.bodies} for trace_id, state in rows.items()}
        for seq, found in bodies.items():
            new = [span for span in found if seq not in written.get(span.trace_id, ())]
            rows |= {span.trace_id: TraceState() for span in new if span.trace_id not in rows}
            _add(rows, new)
        self._connection.executemany(_REPLACE, [state.row(trace_id) for trace_id, state in rows.items()])

    def _write(self, trace_ids: Sequence[bytes]) -> None:
        # A trace of which every span was a duplicate has no bodies of its own here.
        rows = [(trace_id, self._traces.pop(trace_id)) for trace_id in sorted(trace_ids)]
        self._connection.executemany(_REPLACE, [state.row(trace_id) for trace_id, state in rows if state.bodies])

    def _write_long_ones(self, now_s: float, next_block: int) -> None:
        long_ones = {trace_id: one for trace_id, one in self._traces.items() if now_s - one.since_s >= _LONGEST_S}
        self._connection.executemany(_REPLACE, [one.row(trace_id) for trace_id, one in long_ones.items() if one.bodies])
        for one in long_ones.values():
            one.since_s, one.first_block = now_s, next_block

    def _load(
        self, trace_ids: Sequence[bytes], elsewhere: dict[bytes, set[SpanKey]], block_id: int, now_s: float
    ) -> None:
        found = self._rows(trace_ids)
        for trace_id in trace_ids:
            state = found.get(trace_id)
            if state is None:
                state = TraceState()
            else:
                seqs = [seq for seq, _, _ in state.bodies]
                state.known.update(self._span_keys(seqs, trace_id))
            if trace_id in elsewhere:
                state.known |= elsewhere[trace_id]
            state.first_block, state.since_s = block_id, now_s
            self._traces[trace_id] = state

    def _rows(self, trace_ids: Sequence[bytes]) -> dict[bytes, TraceState]:
        return {row[0]: _state(row) for row in rows_of(self._connection, trace_ids)}


def _add(traces: Mapping[bytes, TraceState], spans: Iterable[BlockSpan]) -> list[BlockSpan]:
    """Take in those spans of one body that their traces do not know, and return them."""
    new: list[BlockSpan] = []
    failed: list[bytes] = []
    for span in spans:  # flat, and without min() and max(), which cost three times as much
        trace_id, span_id, parent_id, start_ns, duration_ns, service_id, operation_id, kind, outcome, _, _, _, _ = span
        trace = traces[trace_id]
        known, key = trace.known, (span_id, kind)
        if key in known:
            continue
        known.add(key)
        new.append(span)
        end_ns = start_ns + duration_ns
        if start_ns < trace.first_ns:  # noqa: PLR1730
            trace.first_ns = start_ns
        if end_ns > trace.last_ns:  # noqa: PLR1730
            trace.last_ns = end_ns
        if parent_id == NO_PARENT:
            trace.root_service_id, trace.root_operation_id = service_id, operation_id
        if outcome == FAILED:
            failed.append(trace_id)
    if new:
        seq, errors = new[0].seq, Counter(failed)
        for trace_id, count in Counter([span[0] for span in new]).items():
            traces[trace_id].bodies.append((seq, count, errors.get(trace_id, 0)))
    return new


def rows_of(connection: sqlite3.Connection, trace_ids: Sequence[bytes]) -> Iterable[tuple[bytes, ...]]:
    """The rows of these traces in a segment's table."""
    for at in range(0, len(trace_ids), _PARAMETERS):
        chunk = trace_ids[at : at + _PARAMETERS]
        yield from connection.execute(_SELECT.format(",".join("?" * len(chunk))), chunk)


def bodies_of(row: Sequence[bytes]) -> list[int]:
    """The numbers of the bodies in a row of the table."""
    return [seq for seq, _, _ in orjson.loads(row[7])]


def _state(row: Sequence[object]) -> TraceState:
    _, first_ns, last_ns, _, _, service_id, operation_id, bodies = row
    state = TraceState(first_ns, last_ns, service_id, operation_id)  # type: ignore[arg-type]  # the table is STRICT
    state.bodies = [tuple(one) for one in orjson.loads(bodies)]  # type: ignore[arg-type]
    return state
