"""Reads the spans of a block that meet all conditions of a query; attributes are looked up in the stored requests."""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from itertools import compress

from apm_store.api import StoreError
from apm_store.model import Signal
from apm_store.query import TraceQuery
from apm_store.sqlite.block import Block
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.segment_reader import BlockHead
from apm_store.sqlite.span_attributes import SpanKey, spans_with
from apm_store.sqlite.span_conditions import SpanConditions, picked
from apm_store.sqlite.trace_places import block_traces

_BODIES = (
    "SELECT seq, offset, length FROM body "
    "WHERE seq BETWEEN ? AND ? AND signal = ? AND last_ns >= ? AND first_ns <= ? ORDER BY seq"
)

Matches = tuple[Block, Sequence[int]]
"""A block and some of its rows."""


class BlockScan:
    """Reads blocks for one query; `has_damage` tells whether a stored request could not be read."""

    def __init__(self, snapshot: Snapshot, query: TraceQuery, conditions: SpanConditions) -> None:
        self._snapshot = snapshot
        self._attributes = query.attributes
        self._conditions = conditions
        self.has_damage = False

    def matches(self, head: BlockHead, trace_ids: Collection[bytes] | None = None) -> Matches | None:
        """The spans of a block that meet the query; only of some traces when these are given. None without any."""
        keys: set[SpanKey] | None = None
        if self._attributes and trace_ids is None and not self._conditions.is_narrow:
            keys = self._keys(head, None, None)
            if not keys:  # as nearly always when the filter was wrong: the block itself need not be read
                return None
        block = self._snapshot.block(head)
        rows = self._conditions.rows_of(head, block)
        if trace_ids is not None:
            held = block_traces(block, trace_ids)
            rows = list(compress(rows, map(held.__contains__, picked(block.trace, rows))))
        if self._attributes and rows:
            if keys is None:
                keys = self._keys(head, {block.seqs[index] for index in set(picked(block.body, rows))}, trace_ids)
            named = block.rows_of_spans(span_id for _, span_id, _ in keys)
            rows = [row for row in rows if row in named and block.key(row) in keys]
        return (block, rows) if rows else None

    def _keys(self, head: BlockHead, seqs: Set[int] | None, trace_ids: Collection[bytes] | None) -> set[SpanKey]:
        """The spans that have the attributes in the requests behind a block, or those with some numbers.

        The block may lack some of them: duplicates.
        """
        segment = self._snapshot.segment(head.segment_id)
        bounds = (self._conditions.first_ns, self._conditions.last_ns)
        keys: set[SpanKey] = set()
        for seq, *place in segment.execute(_BODIES, (head.first_seq, head.last_seq, Signal.TRACES.value, *bounds)):
            if seqs is not None and seq not in seqs:
                continue
            self._snapshot.check()
            try:
                content = segment.body_at(*place)
            except StoreError:
                self.has_damage = True
                continue
            keys.update(spans_with(self._attributes, content, trace_ids))
        return keys
