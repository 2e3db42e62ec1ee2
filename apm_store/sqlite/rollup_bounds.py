"""What the roll-ups tell before a block is read: when spans of an operation or statement ran, and how long at most."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select

from apm_store.sqlite.bodies import MAX_INT
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.rollups import HOUR_S, MINUTE_S
from apm_store.sqlite.schema import minute, service, span_rollup, statement_rollup
from apm_store.sqlite.segment_reader import BlockHead
from apm_store.sqlite.span_conditions import OUTCOMES, SpanConditions
from apm_store.sqlite.span_rows import listed

_S = 1_000_000_000
_OUTCOME_NAMES = {number: outcome.value for outcome, number in OUTCOMES.items()}


class _Steps:
    """Steps of equal length in which matching spans start, in order, each with the duration of the longest."""

    def __init__(self, rows: list[tuple[int, int]], step_s: int) -> None:
        self._step_s = step_s
        self.starts_s = [start_s for start_s, _ in rows]
        self._max_ns = [max_ns for _, max_ns in rows]

    def between(self, first_ns: int, last_ns: int) -> slice:
        """The steps that overlap the time between two moments."""
        start_s = first_ns // _S - self._step_s + 1
        return slice(bisect_left(self.starts_s, start_s), bisect_right(self.starts_s, last_ns // _S))

    def max_ns(self, first_ns: int, last_ns: int) -> int | None:
        """The longest duration between two moments; None when no matching span starts there."""
        return max(self._max_ns[self.between(first_ns, last_ns)], default=None)


class RollupBounds:
    """Bounds of the spans that have the operation or statement of some conditions; kept traces outlive roll-ups."""

    def __init__(self, snapshot: Snapshot, conditions: SpanConditions) -> None:
        self._snapshot = snapshot
        self._conditions = conditions
        first_s, last_s = conditions.first_ns // _S, conditions.last_ns // _S
        is_between = (minute.c.start_s > first_s - MINUTE_S) & (minute.c.start_s <= last_s)
        measured = select(minute.c.start_s - minute.c.start_s % HOUR_S).where(is_between).distinct()
        self._hours = self._steps(HOUR_S, measured)
        self._minutes: dict[int, _Steps] = {}

    def by_hour(self, head: BlockHead) -> int | None:
        """How long a matching span of a block lasts at most, from the hourly roll-up; None when there is none."""
        return MAX_INT if head.is_kept else self._hours.max_ns(*self._overlap(head))

    def by_minute(self, head: BlockHead) -> int | None:
        """The same from the roll-up by minute, which is closer and costs more."""
        if head.is_kept:
            return MAX_INT
        first_ns, last_ns = self._overlap(head)
        hours = self._hours.starts_s[self._hours.between(first_ns, last_ns)]
        bounds = (self._minutes_of(hour_s).max_ns(first_ns, last_ns) for hour_s in hours)
        return max((bound for bound in bounds if bound is not None), default=None)

    def _overlap(self, head: BlockHead) -> tuple[int, int]:
        return max(head.first_ns, self._conditions.first_ns), min(head.last_ns, self._conditions.last_ns)

    def _minutes_of(self, hour_s: int) -> _Steps:
        known = self._minutes.get(hour_s)
        if known is None:
            starts = listed(range(hour_s, hour_s + HOUR_S, MINUTE_S))
            known = self._minutes[hour_s] = self._steps(MINUTE_S, starts)
        return known

    def _steps(self, step_s: int, starts: Select[Any]) -> _Steps:
        wanted = self._conditions
        table = span_rollup if wanted.statement_id is None else statement_rollup
        conditions: list[ColumnElement[bool]] = [table.c.step_s == step_s, table.c.start_s.in_(starts)]
        if wanted.service_id is None:
            conditions.append(table.c.service_id.in_(select(service.c.id)))  # so that the primary key leads there
        else:
            conditions.append(table.c.service_id == wanted.service_id)
        if wanted.statement_id is None:
            conditions.append(span_rollup.c.operation_id == wanted.operation_id)
        else:
            conditions.append(statement_rollup.c.statement_id == wanted.statement_id)
        if wanted.outcome is not None:
            conditions.append(table.c.outcome == _OUTCOME_NAMES[wanted.outcome])
        conditions.append(table.c.max_ns >= wanted.min_ns)
        question = select(table.c.start_s, func.max(table.c.max_ns)).where(*conditions).group_by(table.c.start_s)
        rows: list[Any] = self._snapshot.rows(question.order_by(table.c.start_s))
        return _Steps([(start_s, max_ns) for start_s, max_ns in rows], step_s)
