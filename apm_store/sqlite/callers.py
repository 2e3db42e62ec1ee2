"""Finds out who calls a database statement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from heapq import nlargest

from sqlalchemy import func, select

from apm_store.model import Signal
from apm_store.query import StatementCallers, TimeRange, TraceQuery
from apm_store.sqlite.aggregates import in_range
from apm_store.sqlite.block import BlockSpan
from apm_store.sqlite.block_sieve import BlockSieve
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.schema import statement_rollup
from apm_store.sqlite.segment_reader import BlockHead
from apm_store.sqlite.span_conditions import SpanConditions, UnknownNameError, conditions_of
from apm_store.sqlite.span_rows import span_rows
from apm_store.sqlite.trace_places import spans_in, spans_of

SAMPLED_CALLS = 200
"""How many of the newest calls are followed up to their entry span."""

_Key = tuple[bytes, bytes]
_Call = tuple[BlockSpan, BlockSpan]
"""A call, and its entry span as far as its block tells."""


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
    unsure = {call.trace_id for call, entry in calls if not entry.is_entry}
    by_key = _by_key(span for held in spans_of(snapshot, unsure).values() for span in held)
    found = [entry if entry.is_entry else _entry_of(call, by_key) for call, entry in calls]
    entries = span_rows(snapshot, found)
    counts = Counter((entry.service, entry.operation) for entry in entries)
    callers = tuple((*names, count) for names, count in counts.most_common())
    total = len(calls) if is_all else _counted(snapshot, conditions)
    return StatementCallers(callers, sampled=len(calls), total=max(len(calls), total))


def _newest_calls(snapshot: Snapshot, query: TraceQuery, conditions: SpanConditions) -> tuple[list[_Call], bool]:
    """The newest calls in the range, and whether there are no others."""
    segments = snapshot.segments(conditions.first_ns, conditions.last_ns, Signal.TRACES)
    sieve = BlockSieve(snapshot, query, conditions)
    heads = [head for segment in segments for head in segment.block_heads() if sieve.bound_ns(head) is not None]
    calls: list[_Call] = []
    for head in sorted(heads, key=lambda head: head.last_ns, reverse=True):
        snapshot.check()
        if len(calls) > SAMPLED_CALLS and head.last_ns < calls[SAMPLED_CALLS - 1][0].start_ns:
            break
        if sieve.close_bound_ns(head) is not None:
            calls += _calls_in(snapshot, head, conditions)
            calls = nlargest(SAMPLED_CALLS + 1, calls, key=lambda call: call[0].start_ns)
    return calls[:SAMPLED_CALLS], len(calls) <= SAMPLED_CALLS


def _calls_in(snapshot: Snapshot, head: BlockHead, conditions: SpanConditions) -> list[_Call]:
    """The newest calls of a block; what a service sends together lies together, so most entry spans do as well."""
    block = snapshot.block(head)
    calls = map(block.span, conditions.rows_of(head, block))
    newest = nlargest(SAMPLED_CALLS + 1, calls, key=lambda call: call.start_ns)
    by_key = _by_key(spans_in(snapshot, head, {call.trace_id for call in newest}))
    return [(call, _entry_of(call, by_key)) for call in newest]


def _by_key(spans: Iterable[BlockSpan]) -> dict[_Key, BlockSpan]:
    return {(span.trace_id, span.span_id): span for span in spans}


def _counted(snapshot: Snapshot, conditions: SpanConditions) -> int:
    """How many calls start in the minutes of the range."""
    table = statement_rollup
    wanted = in_range(table, TimeRange(conditions.first_ns, conditions.last_ns + 1), None)
    is_statement = table.c.statement_id == conditions.statement_id
    total: int = snapshot.rows(select(func.coalesce(func.sum(table.c.count), 0)).where(is_statement, wanted))[0][0]
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
