"""Finds out who calls a database statement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from heapq import nlargest

from sqlalchemy import func, select

from apm_store.model import Signal
from apm_store.query import MINUTE_NS, StatementCallers, TimeRange, TraceQuery
from apm_store.sqlite.block import BlockSpan
from apm_store.sqlite.block_sieve import BlockSieve
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.rollups import MINUTE_S
from apm_store.sqlite.schema import statement_rollup
from apm_store.sqlite.span_conditions import SpanConditions, UnknownNameError, conditions_of
from apm_store.sqlite.span_rows import span_rows
from apm_store.sqlite.trace_places import spans_of

SAMPLED_CALLS = 200
"""How many of the newest calls are followed up to their entry span."""

_Key = tuple[bytes, bytes]


def statement_callers(snapshot: Snapshot, statement_id: str, time_range: TimeRange) -> StatementCallers:
    """The entry operations under which a statement ran, most calls first.

    Where a trace lacks the entry span, the outermost span that it holds stands for it. When there are more calls than
    are sampled, `total` comes from the roll-up and so counts whole minutes.
    """
    query = TraceQuery(time_range, statement_id=statement_id)
    try:
        conditions = conditions_of(snapshot, query)
    except UnknownNameError:
        return StatementCallers((), sampled=0, total=0)
    calls, is_all = _newest_calls(snapshot, query, conditions)
    spans = spans_of(snapshot, {call.trace_id for call in calls})
    by_key = {(span.trace_id, span.span_id): span for held in spans.values() for span in held}
    entries = span_rows(snapshot, [_entry_of(call, by_key) for call in calls])
    counts = Counter((entry.service, entry.operation) for entry in entries)
    callers = tuple((*names, count) for names, count in counts.most_common())
    total = len(calls) if is_all else _counted(snapshot, conditions)
    return StatementCallers(callers, sampled=len(calls), total=max(len(calls), total))


def _newest_calls(snapshot: Snapshot, query: TraceQuery, conditions: SpanConditions) -> tuple[list[BlockSpan], bool]:
    """The newest calls in the range, and whether there are no others."""
    segments = snapshot.segments(conditions.first_ns, conditions.last_ns, Signal.TRACES)
    sieve = BlockSieve(snapshot, query, conditions)
    heads = [head for segment in segments for head in segment.block_heads() if sieve.bound_ns(head) is not None]
    calls: list[BlockSpan] = []
    for head in sorted(heads, key=lambda head: head.last_ns, reverse=True):
        snapshot.check()
        if len(calls) > SAMPLED_CALLS and head.last_ns < calls[SAMPLED_CALLS - 1].start_ns:
            break
        if sieve.close_bound_ns(head) is not None:
            block = snapshot.block(head)
            calls += map(block.span, conditions.rows_of(head, block))
            calls = nlargest(SAMPLED_CALLS + 1, calls, key=lambda call: call.start_ns)
    return calls[:SAMPLED_CALLS], len(calls) <= SAMPLED_CALLS


def _counted(snapshot: Snapshot, conditions: SpanConditions) -> int:
    """How many calls start in the minutes of the range."""
    first_s = conditions.first_ns // MINUTE_NS * MINUTE_S
    table = statement_rollup
    wanted = (table.c.start_s >= first_s, table.c.start_s <= conditions.last_ns // 1_000_000_000)
    is_statement = (table.c.step_s == MINUTE_S) & (table.c.statement_id == conditions.statement_id)
    total: int = snapshot.rows(select(func.coalesce(func.sum(table.c.count), 0)).where(is_statement, *wanted))[0][0]
    return total


def _entry_of(call: BlockSpan, spans: Mapping[_Key, BlockSpan]) -> BlockSpan:
    """The nearest entry span at or above a span; a cycle of parents ends where it closes."""
    seen = {(call.trace_id, call.span_id)}
    found = call
    while not found.is_entry:
        above = (found.trace_id, found.parent_span_id)
        if above in seen or above not in spans:
            break
        seen.add(above)
        found = spans[above]
    return found
