"""The conditions of a `TraceQuery` on a single span, as they are applied to blocks, without those on attributes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import compress, count
from typing import Any

from sqlalchemy import Column, Table, select

from apm_store.query import Outcome, TraceQuery
from apm_store.sqlite.block import CLIENT_ERROR, FAILED, OK, Block, BlockSpan
from apm_store.sqlite.bodies import MAX_INT, clamp
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.schema import operation, service, statement
from apm_store.sqlite.segment_reader import BlockHead

OUTCOMES = {Outcome.OK: OK, Outcome.CLIENT_ERROR: CLIENT_ERROR, Outcome.FAILED: FAILED}


class UnknownNameError(LookupError):
    """A query names a service, operation or statement that no span has."""


@dataclass(frozen=True, slots=True)
class SpanConditions:
    """What a span must be; None where it does not matter. Times and durations are bounds, both included.

    `is_entry` asks for entry spans alone.
    """

    first_ns: int
    last_ns: int
    is_entry: bool
    service_id: int | None
    operation_id: int | None
    statement_id: int | None
    outcome: int | None
    min_ns: int
    max_ns: int

    @property
    def is_narrow(self) -> bool:
        """Whether they ask for more than a time."""
        names = (self.service_id, self.operation_id, self.statement_id, self.outcome)
        return self.is_entry or any(name is not None for name in names) or self.min_ns > 0 or self.max_ns < MAX_INT

    def longest_ns(self, head: BlockHead) -> int | None:
        """How long an entry span of a block lasts at most that may meet the conditions; None when there is none."""
        service_id, outcome = self.service_id, self.outcome
        longest = head.max_ns
        if service_id is not None or outcome is not None:  # asked of every block, so plainly
            fitting = [
                max_ns
                for zone_service, zone_outcome, _, max_ns in head.zones
                if service_id in (None, zone_service) and outcome in (None, zone_outcome)
            ]
            longest = max(fitting, default=-1)
        return longest if longest >= self.min_ns else None

    def meets(self, span: BlockSpan) -> bool:
        """Whether a span meets the conditions."""
        return (
            self.first_ns <= span.start_ns <= self.last_ns
            and (span.is_entry or not self.is_entry)
            and self.service_id in (None, span.service_id)
            and self.operation_id in (None, span.operation_id)
            and self.statement_id in (None, span.statement_id)
            and self.outcome in (None, span.outcome)
            and self.min_ns <= span.duration_ns <= self.max_ns
        )

    def rows_of(self, head: BlockHead, block: Block) -> Sequence[int]:
        """The rows of a block that meet the conditions."""
        count = block.entry_count if self.is_entry else block.span_count
        rows: Sequence[int] = range(count)
        for column, wanted in (
            (block.statement_id, self.statement_id),
            (block.operation_id, self.operation_id),
            (block.service_id, self.service_id),
            (block.outcome, self.outcome),
        ):
            if wanted is not None:
                rows = _equal(rows, column, wanted)
        if head.first_ns < self.first_ns or head.last_ns > self.last_ns:
            rows = _between(rows, block.start_ns, self.first_ns, self.last_ns)
        if self.min_ns > 0 or self.max_ns < MAX_INT:
            rows = _between(rows, block.duration_ns, self.min_ns, self.max_ns)
        return rows


def picked(column: Any, rows: Sequence[int]) -> list[int]:
    """The values of a block's column at these rows, all of which are the first ones when they are a range."""
    # A list is walked through much faster than a view is asked.
    return column[: len(rows)].tolist() if isinstance(rows, range) else [column[row] for row in rows]


def at_least(rows: Sequence[int], column: Any, least: int) -> list[int]:
    """Those of some rows whose value in a column is as great as `least`."""
    return [row for row, value in zip(rows, picked(column, rows), strict=True) if value >= least]


def rows_with(column: Any, wanted: int) -> list[int]:
    """The places of a value that is rare: leaping from one to the next by its bytes is faster than looking at each."""
    size, content, pattern = column.itemsize, column.tobytes(), _bytes_in(column, wanted)
    found: list[int] = []
    at = content.find(pattern) if pattern else -1
    while at >= 0:
        place, offset = divmod(at, size)
        if not offset:
            found.append(place)
        at = content.find(pattern, (place + 1) * size)
    return found


def _bytes_in(column: Any, wanted: int) -> bytes:
    """A value as it stands in a column; empty when it is too great for it."""
    size = column.itemsize
    return b"" if wanted >> 8 * size else wanted.to_bytes(size, sys.byteorder)


def rows_among(values: Iterable[int], wanted: Set[int]) -> list[int]:
    """The places of some values."""
    return list(compress(count(), map(wanted.__contains__, values)))


def _equal(rows: Sequence[int], column: Any, wanted: int) -> Sequence[int]:
    if isinstance(rows, range):
        part, pattern = column[: len(rows)], _bytes_in(column, wanted)
        if not pattern or part.tobytes().count(pattern) * 8 < len(rows):
            return rows_with(part, wanted)
    return [row for row, value in zip(rows, picked(column, rows), strict=True) if value == wanted]


def _between(rows: Sequence[int], column: Any, least: int, greatest: int) -> Sequence[int]:
    return [row for row, value in zip(rows, picked(column, rows), strict=True) if least <= value <= greatest]


def conditions_of(snapshot: Snapshot, query: TraceQuery) -> SpanConditions:
    """The conditions of a query; raises UnknownNameError when nothing can meet them."""
    is_entry = query.operation is None and query.statement_id is None and not query.attributes
    return SpanConditions(
        first_ns=max(0, query.time_range.start_ns),
        last_ns=clamp(query.time_range.end_ns) - 1,
        is_entry=is_entry,
        service_id=_id_of(snapshot, service, service.c.name, query.service),
        operation_id=_id_of(snapshot, operation, operation.c.name, query.operation),
        statement_id=_id_of(snapshot, statement, statement.c.hash, query.statement_id),
        outcome=None if query.outcome is None else OUTCOMES[query.outcome],
        min_ns=max(0, query.min_duration_ns or 0),
        max_ns=MAX_INT if query.max_duration_ns is None else clamp(query.max_duration_ns),
    )


def _id_of(snapshot: Snapshot, table: Table, column: Column[Any], wanted: str | None) -> int | None:
    if wanted is None:
        return None
    rows = snapshot.rows(select(table.c.id).where(column == wanted))
    if not rows:
        raise UnknownNameError(wanted)
    found: int = rows[0].id
    return found
