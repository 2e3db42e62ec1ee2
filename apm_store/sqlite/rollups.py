"""Sums spans up by minute and by hour while they are indexed, so that no question ever counts raw spans."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from apm_store.sketch import Sketch, bucket_of, buckets_of
from apm_store.sqlite.bodies import clamp
from apm_store.sqlite.hot_cells import HotCells

MINUTE_S = 60
HOUR_S = 3600

Key = tuple[int | str, ...]
"""Start of the minute (or hour) in seconds, then the key columns of the table behind `start_s`."""

SPAN_KEY = ("service_id", "operation_id", "kind", "is_entry", "outcome")
STATEMENT_KEY = ("service_id", "statement_id", "outcome")


@dataclass(slots=True)
class Cell:
    """The spans of one key: how many, how long."""

    count: int = 0
    sum_ns: int = 0
    max_ns: int = -1
    max_trace_id: bytes = b""
    buckets: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, durations_ns: Sequence[int], trace_ids: Sequence[bytes]) -> Cell:
        """The cell of spans: their durations, and in the same order the traces that they belong to."""
        longest = max(durations_ns)
        trace_id = trace_ids[durations_ns.index(longest)]
        return cls(len(durations_ns), sum(durations_ns), longest, trace_id, Counter(buckets_of(durations_ns)))

    def merge(self, other: Cell) -> None:
        """Add all of `other`."""
        self.count += other.count
        self.sum_ns += other.sum_ns
        if other.max_ns > self.max_ns:
            self.max_ns, self.max_trace_id = other.max_ns, other.max_trace_id
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count


Spans = tuple[list[int], list[bytes]]
"""Durations in nanoseconds, and in the same order the traces."""


def _spans_by_key() -> defaultdict[Key, Spans]:
    return defaultdict(lambda: ([], []))


class Rollup:
    """One roll-up table: what was added since the last flush, and the cells that were written lately.

    `added` takes the spans of each minute and key; they are summed up when they are flushed, because many at once cost
    a third of few.
    """

    def __init__(self, table: str, key_columns: tuple[str, ...]) -> None:
        columns = ("step_s", "start_s", *key_columns)
        condition = " AND ".join(f"{column} = ?" for column in columns)
        marks = ", ".join("?" * (len(columns) + 5))
        self._select = f"SELECT count, sum_ns, max_ns, max_trace_id, sketch FROM {table} WHERE {condition}"  # noqa: S608 – names from this file
        self._replace = f"INSERT OR REPLACE INTO {table} VALUES ({marks})"  # noqa: S608 – names from this file
        self._again: list[tuple[Key, int, int]] = []
        self.added = _spans_by_key()
        self._hot: HotCells[Key, Cell] = HotCells()

    def add_again(self, key: Key, duration_ns: int, times: int) -> None:
        """Count a span that is among the added ones some times more."""
        self._again.append((key, duration_ns, times))

    def minutes(self) -> set[int]:
        """The starts, in seconds, of the minutes that were added to since the last flush."""
        return {int(start_s) for start_s, *_ in self.added}

    def flush(self, connection: sqlite3.Connection) -> None:
        """Add to the table what was added here, by minute and by hour."""
        minutes = self._take()
        hours: dict[Key, Cell] = {}
        for (start_s, *key), cell in minutes.items():
            hour = (int(start_s) // HOUR_S * HOUR_S, *key)
            hours.setdefault(hour, Cell()).merge(cell)
        for step_s, cells in ((MINUTE_S, minutes), (HOUR_S, hours)):
            rows = [self._grown((step_s, *key), cell, connection) for key, cell in cells.items()]
            connection.executemany(self._replace, rows)
        self._hot.end_flush()

    def clear(self) -> None:
        """Forget what was added, and what the table is thought to hold."""
        self._take()
        self._hot.clear()

    def _take(self) -> dict[Key, Cell]:
        cells = {key: Cell.of(*spans) for key, spans in self.added.items()}
        for key, duration_ns, times in self._again:
            cell = cells[key]
            cell.count += times
            cell.sum_ns += duration_ns * times
            cell.buckets[bucket_of(duration_ns)] += times
        self.added, self._again = _spans_by_key(), []
        return cells

    def _grown(self, key: Key, cell: Cell, connection: sqlite3.Connection) -> tuple[int | str | bytes, ...]:
        """The table's row for a key after the cell is added to it."""
        hot = self._hot.cell(key, partial(self._stored, key, connection))
        hot.merge(cell)
        packed = Sketch(hot.buckets).to_bytes()
        return (*key, hot.count, clamp(hot.sum_ns), hot.max_ns, hot.max_trace_id, packed)

    def _stored(self, key: Key, connection: sqlite3.Connection) -> Cell:
        row = connection.execute(self._select, key).fetchone()
        if row is None:
            return Cell()
        count, sum_ns, max_ns, max_trace_id, sketch = row
        return Cell(count, sum_ns, max_ns, max_trace_id, Sketch.from_bytes(sketch).buckets)
