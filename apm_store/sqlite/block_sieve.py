"""Tells which blocks may hold spans that meet a query, and how long those last at most, before the blocks are read."""

from __future__ import annotations

from collections.abc import Iterator

from apm_store.query import TraceQuery
from apm_store.sqlite.dictionaries import OVERFLOW
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.rollup_bounds import RollupBounds
from apm_store.sqlite.segment_reader import BlockHead
from apm_store.sqlite.span_attributes import tokens_of_pair
from apm_store.sqlite.span_conditions import SpanConditions
from apm_store.sqlite.token_filter import TokenTest
from apm_store.sqlite.write_traces import operation_token, service_token, statement_token

_FILTERS = "SELECT block_id, bits FROM block_filter WHERE block_id BETWEEN ? AND ?"
_FILTERS_AT_ONCE = 32  # half a megabyte; one by one they take three times as long


class BlockSieve:
    """Rules out blocks by their zones, by the roll-ups of the catalogue, and by their filters."""

    def __init__(self, snapshot: Snapshot, query: TraceQuery, conditions: SpanConditions) -> None:
        self._snapshot = snapshot
        self._conditions = conditions
        has_rollup = conditions.operation_id is not None or conditions.statement_id is not None
        self._rollups = RollupBounds(snapshot, conditions) if has_rollup else None
        wanted = [] if conditions.is_entry else list(_alternatives(query))
        self._tokens = TokenTest(wanted) if wanted else None
        self._verdicts: dict[tuple[int, int], dict[int, bool]] = {}

    def bound_ns(self, head: BlockHead) -> int | None:
        """How long a matching span of a block lasts at most, told cheaply; None when it cannot hold one."""
        conditions = self._conditions
        if head.last_ns < conditions.first_ns or head.first_ns > conditions.last_ns:
            return None
        bound: int | None = conditions.max_ns
        if conditions.is_entry:
            bound = conditions.longest_ns(head)
        elif self._rollups is not None:
            bound = self._rollups.by_hour(head)
        return bound if bound is None else min(bound, conditions.max_ns)

    def close_bound_ns(self, head: BlockHead) -> int | None:
        """The same, told more closely and at a higher price."""
        if self._conditions.is_entry:
            return self.bound_ns(head)
        bound = self._conditions.max_ns if self._rollups is None else self._rollups.by_minute(head)
        if bound is None or not self.may_contain(head):
            return None
        return min(bound, self._conditions.max_ns)

    def may_contain(self, head: BlockHead) -> bool:
        """Whether the filter of a block lets it hold every token that is asked for; an open block has none."""
        if self._tokens is None or head.is_open:
            return True
        part = (head.segment_id, head.block_id // _FILTERS_AT_ONCE)
        if part not in self._verdicts:
            self._snapshot.check()
            first = part[1] * _FILTERS_AT_ONCE
            rows = self._snapshot.segment(head.segment_id).execute(_FILTERS, (first, first + _FILTERS_AT_ONCE - 1))
            self._verdicts[part] = {block_id: self._tokens.passes(bits) for block_id, bits in rows}
        return self._verdicts[part].get(head.block_id, True)


def _alternatives(query: TraceQuery) -> Iterator[list[bytes]]:
    """Sets of tokens; a block that holds matching spans has one of each. Names beyond the limits have none."""
    if query.operation not in (None, OVERFLOW):
        yield [operation_token(query.operation)]
    if query.service not in (None, OVERFLOW):
        yield [service_token(query.service)]
    if query.statement_id not in (None, OVERFLOW):
        yield [statement_token(query.statement_id)]
    for pair in query.attributes:
        yield tokens_of_pair(*pair)
