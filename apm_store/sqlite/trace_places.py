"""Tells where the spans of traces lie: in which bodies, and in which blocks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence

import orjson

from apm_store.model import Signal
from apm_store.sqlite.block import Block, BlockSpan
from apm_store.sqlite.bodies import MAX_INT
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.segment_reader import BlockHead, SegmentSnapshot
from apm_store.sqlite.span_conditions import rows_among, rows_with

_PARAMETERS = 500
_FEW_TRACES = 3  # of a block, up to which leaping from span to span is faster than looking at each
_MANY_TRACES = 40  # from which on it is faster to list all traces of a block than to look for each
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


def spans_in(snapshot: Snapshot, head: BlockHead, trace_ids: Collection[bytes]) -> Iterator[BlockSpan]:
    """The spans of these traces that a block holds."""
    block = snapshot.block(head)
    indexes = block_traces(block, trace_ids)
    if not indexes:
        return
    if len(indexes) <= _FEW_TRACES:
        for index in indexes:
            yield from map(block.span, rows_with(block.trace, index))
    else:
        yield from map(block.span, rows_among(block.trace.tolist(), indexes))


def block_traces(block: Block, trace_ids: Collection[bytes]) -> set[int]:
    """What the `trace` column of a block holds for those of these traces that it has spans of."""
    if len(trace_ids) < _MANY_TRACES:
        return {index for index in map(block.index_of_trace, trace_ids) if index is not None}
    held = block.trace_ids
    index_of = {held[at : at + 16]: at // 16 for at in range(0, len(held), 16)}
    return {index_of[trace_id] for trace_id in index_of.keys() & trace_ids}


def bodies_of(snapshot: Snapshot, trace_id: bytes) -> Iterator[tuple[SegmentSnapshot, int]]:
    """All bodies with spans of a trace, in the order in which they were received."""
    for segment in reversed(snapshot.segments(0, MAX_INT, Signal.TRACES)):
        seqs = {seq for _, listed in listed_bodies(segment, [trace_id]) for seq in listed}
        for head in segment.block_heads():
            if head.block_id >= segment.first_unsettled_block:
                seqs.update(span.seq for span in spans_in(snapshot, head, [trace_id]))
        for seq in sorted(seqs):
            yield segment, seq
