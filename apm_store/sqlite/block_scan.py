"""Reads the spans of a block that meet all conditions of a query; attributes are looked up in the stored requests."""

from __future__ import annotations

from collections.abc import Sequence

from apm_store.api import StoreError
from apm_store.model import Signal
from apm_store.query import TraceQuery
from apm_store.sqlite.block import Block, BlockSpan
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.segment_reader import BlockHead
from apm_store.sqlite.span_attributes import SpanKey, spans_with
from apm_store.sqlite.span_conditions import SpanConditions

_BODIES = (
    "SELECT offset, length FROM body "
    "WHERE seq BETWEEN ? AND ? AND signal = ? AND last_ns >= ? AND first_ns <= ? ORDER BY seq"
)


class BlockScan:
    """Reads blocks for one query; `has_damage` tells whether a stored request could not be read."""

    def __init__(self, snapshot: Snapshot, query: TraceQuery, conditions: SpanConditions) -> None:
        self._snapshot = snapshot
        self._attributes = query.attributes
        self._conditions = conditions
        self.has_damage = False

    def rows_of(self, head: BlockHead, block: Block) -> Sequence[int]:
        """The rows of the spans that meet the query."""
        rows = self._conditions.rows_of(head, block)
        if not self._attributes or not rows:
            return rows
        keys = self._keys(head)
        traces = {block.index_of_trace(trace_id) for trace_id, _, _ in keys}
        held = block.trace.tolist()
        return [row for row in rows if held[row] in traces and _key(block.span(row)) in keys]

    def _keys(self, head: BlockHead) -> set[SpanKey]:
        """The spans in the requests behind a block that have the attributes; the block may lack some: duplicates."""
        segment = self._snapshot.segment(head.segment_id)
        bounds = (self._conditions.first_ns, self._conditions.last_ns)
        keys: set[SpanKey] = set()
        for place in segment.execute(_BODIES, (head.first_seq, head.last_seq, Signal.TRACES.value, *bounds)):
            self._snapshot.check()
            try:
                content = segment.body_at(*place)
            except StoreError:
                self.has_damage = True
                continue
            keys.update(spans_with(self._attributes, content))
        return keys


def _key(span: BlockSpan) -> SpanKey:
    return span.trace_id, span.span_id, span.kind
