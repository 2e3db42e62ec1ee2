"""Tells where the spans of traces lie: in which bodies, and in which blocks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence

import orjson

from apm_store.model import Signal
from apm_store.sqlite.block import BlockSpan
from apm_store.sqlite.bodies import MAX_INT
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.segment_reader import BlockHead, SegmentSnapshot
from apm_store.sqlite.span_conditions import rows_with

_PARAMETERS = 500
_BODIES = "SELECT trace_id, bodies FROM trace WHERE first_ns <= ? AND trace_id IN ({})"


def listed_bodies(
    segment: SegmentSnapshot, trace_ids: Sequence[bytes], until_ns: int = MAX_INT
) -> Iterator[tuple[bytes, list[int]]]:
    """Each trace that the directory of a segment knows, with the numbers of the bodies that hold spans of it.

    Traces of which all spans start after `until_ns` are left out. What lies in unsettled blocks may be missing.
    """
    for at in range(0, len(trace_ids), _PARAMETERS):
        chunk = trace_ids[at : at + _PARAMETERS]
        for trace_id, bodies in segment.execute(_BODIES.format(",".join("?" * len(chunk))), (until_ns, *chunk)):
            yield trace_id, [seq for seq, _, _ in orjson.loads(bodies)]


class BlockIndex:
    """Finds among blocks of one segment, which are in order, the one that holds a body."""

    def __init__(self, heads: Sequence[BlockHead]) -> None:
        self._first_seqs = [head.first_seq for head in heads]
        self._last_seqs = [head.last_seq for head in heads]

    def find(self, seq: int) -> int | None:
        """The place among the blocks of the one that holds the new spans of a body."""
        at = bisect_right(self._first_seqs, seq) - 1
        return at if at >= 0 and seq <= self._last_seqs[at] else None


def blocks_of(segment: SegmentSnapshot, trace_ids: Sequence[bytes]) -> dict[BlockHead, set[bytes]]:
    """The blocks of a segment that hold spans of these traces, and of which; unsettled ones may hold some of each."""
    heads = segment.block_heads()
    index = BlockIndex(heads)
    found = {head: set(trace_ids) for head in heads if head.block_id >= segment.first_unsettled_block}
    for trace_id, seqs in listed_bodies(segment, trace_ids):
        for seq in seqs:
            at = index.find(seq)
            if at is not None:
                found.setdefault(heads[at], set()).add(trace_id)
    return found


def spans_of(snapshot: Snapshot, trace_ids: Collection[bytes]) -> dict[bytes, list[BlockSpan]]:
    """All spans of these traces in order of start; each block is read once.

    Of spans that came again much later, so that two segments hold them, the first counts.
    """
    spans: dict[bytes, dict[tuple[bytes, int], BlockSpan]] = {trace_id: {} for trace_id in trace_ids}
    wanted = list(spans)
    for segment in reversed(snapshot.segments(0, MAX_INT, Signal.TRACES)) if wanted else ():
        for head, held in blocks_of(segment, wanted).items():
            snapshot.check()
            for span in spans_in(snapshot, head, held):
                spans[span.trace_id].setdefault((span.span_id, span.kind), span)
    return {
        trace_id: sorted(found.values(), key=lambda span: (span.start_ns, span.span_id))
        for trace_id, found in spans.items()
    }


def spans_in(snapshot: Snapshot, head: BlockHead, trace_ids: Iterable[bytes]) -> Iterator[BlockSpan]:
    """The spans of these traces that a block holds."""
    block = snapshot.block(head)
    traces = block.trace.tolist()
    for index in map(block.index_of_trace, trace_ids):
        if index is not None:
            yield from map(block.span, rows_with(traces, index))


def bodies_of(snapshot: Snapshot, trace_id: bytes) -> Iterator[tuple[SegmentSnapshot, int]]:
    """All bodies with spans of a trace, in the order in which they were received."""
    for segment in reversed(snapshot.segments(0, MAX_INT, Signal.TRACES)):
        seqs = {seq for _, listed in listed_bodies(segment, [trace_id]) for seq in listed}
        for head in segment.block_heads():
            if head.block_id >= segment.first_unsettled_block:
                seqs.update(span.seq for span in spans_in(snapshot, head, [trace_id]))
        for seq in sorted(seqs):
            yield segment, seq
