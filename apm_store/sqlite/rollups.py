"""Sums spans up by minute and by hour while they are written, so that no question ever counts raw spans."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

from apm_store.sketch import Sketch, bucket_of
from apm_store.sqlite.bodies import clamp

MINUTE_S = 60
HOUR_S = 3600
_NS_PER_MINUTE = MINUTE_S * 1_000_000_000

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

    def add(self, duration_ns: int, trace_id: bytes) -> None:
        """Count one span."""
        self.count += 1
        self.sum_ns += duration_ns
        if duration_ns > self.max_ns:
            self.max_ns, self.max_trace_id = duration_ns, trace_id
        bucket = bucket_of(duration_ns)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def merge(self, other: Cell) -> None:
        """Add all of `other`."""
        self.count += other.count
        self.sum_ns += other.sum_ns
        if other.max_ns > self.max_ns:
            self.max_ns, self.max_trace_id = other.max_ns, other.max_trace_id
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count


class Rollup:
    """The cells of one roll-up table that one transaction touches, by minute."""

    def __init__(self, table: str, key_columns: tuple[str, ...]) -> None:
        columns = ("step_s", "start_s", *key_columns)
        condition = " AND ".join(f"{column} = ?" for column in columns)
        marks = ", ".join("?" * (len(columns) + 5))
        self._select = f"SELECT count, sum_ns, max_ns, max_trace_id, sketch FROM {table} WHERE {condition}"  # noqa: S608 – names from this file
        self._replace = f"INSERT OR REPLACE INTO {table} VALUES ({marks})"  # noqa: S608 – names from this file
        self._cells: dict[Key, Cell] = {}

    def add(self, start_ns: int, key: Key, duration_ns: int, trace_id: bytes) -> None:
        """Count one span that starts at `start_ns`; `key` follows the table's key columns."""
        whole = (start_ns // _NS_PER_MINUTE * MINUTE_S, *key)
        cell = self._cells.get(whole)
        if cell is None:
            cell = self._cells[whole] = Cell()
        cell.add(duration_ns, trace_id)

    def minutes(self) -> set[int]:
        """The starts, in seconds, of the minutes that were added to."""
        return {int(start_s) for start_s, *_ in self._cells}

    def flush(self, connection: sqlite3.Connection) -> None:
        """Add the cells to the table, one read and one write per minute and per hour, and start empty."""
        hours: dict[Key, Cell] = {}
        for (start_s, *key), cell in self._cells.items():
            hour = (int(start_s) // HOUR_S * HOUR_S, *key)
            hours.setdefault(hour, Cell()).merge(cell)
        for step_s, cells in ((MINUTE_S, self._cells), (HOUR_S, hours)):
            rows = [self._grown((step_s, *key), cell, connection) for key, cell in cells.items()]
            connection.executemany(self._replace, rows)
        self.clear()

    def clear(self) -> None:
        """Forget what was added."""
        self._cells = {}

    def _grown(self, key: Key, cell: Cell, connection: sqlite3.Connection) -> tuple[int | str | bytes, ...]:
        """The table's row for a key after the cell is added to it."""
        row = connection.execute(self._select, key).fetchone()
        if row is not None:
            count, sum_ns, max_ns, max_trace_id, sketch = row
            stored = Cell(count, sum_ns, max_ns, max_trace_id, Sketch.from_bytes(sketch).buckets)
            stored.merge(cell)
            cell = stored
        packed = Sketch(cell.buckets).to_bytes()
        return (*key, cell.count, clamp(cell.sum_ns), cell.max_ns, cell.max_trace_id, packed)
