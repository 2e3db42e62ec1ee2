"""Sums spans up by minute, by hour and between while they are indexed, so that no question counts raw spans."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from apm_store.sketch import Sketch, add_buckets, bucket_of, buckets_of
from apm_store.sqlite.bodies import clamp
from apm_store.sqlite.hot_cells import HotCells

MINUTE_S = 60
HOUR_S = 3600
STEPS_S = (MINUTE_S, HOUR_S)
"""The steps of every roll-up, each a multiple of the one before."""

SERVICE_STEPS_S = (MINUTE_S, 5 * MINUTE_S, 15 * MINUTE_S, HOUR_S)
"""The steps of the roll-up of services, whose series over a day are asked for all the time."""

Key = tuple[int | str, ...]
"""Start of the step in seconds, then the key columns of the table behind `start_s`."""

SERVICE_KEY = ("service_id", "outcome")
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
        add_buckets(self.buckets, other.buckets)


def requests_by_service(cells: Mapping[Key, Cell]) -> dict[Key, Cell]:
    """The cells of entry spans among those of `SPAN_KEY`, summed up to `SERVICE_KEY`."""
    return _merged(((key[0], key[1], key[5]), cell) for key, cell in cells.items() if key[4])


def _merged(cells: Iterable[tuple[Key, Cell]]) -> dict[Key, Cell]:
    """Those with equal keys as one; the cells that are given stay as they are."""
    merged: dict[Key, Cell] = {}
    for key, cell in cells:
        merged.setdefault(key, Cell()).merge(cell)
    return merged


Spans = tuple[list[int], list[bytes]]
"""Durations in nanoseconds, and in the same order the traces."""


def _spans_by_key() -> defaultdict[Key, Spans]:
    return defaultdict(lambda: ([], []))


class Rollup:
    """One roll-up table: what was added since the last flush, and the cells that were written lately.

    `added` takes the spans of each minute and key; they are summed up when they are flushed, because many at once cost
    a third of few.
    """

    def __init__(self, table: str, key_columns: tuple[str, ...], steps_s: tuple[int, ...] = STEPS_S) -> None:
        self._steps_s = steps_s
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

    def flush(self, connection: sqlite3.Connection) -> Mapping[Key, Cell]:
        """Add to the table what was added here; gives the cells of the minutes."""
        minutes = self._take()
        self.write(minutes, connection)
        return minutes

    def write(self, minutes: Mapping[Key, Cell], connection: sqlite3.Connection) -> None:
        """Add cells of minutes to the table, by every step."""
        cells = minutes
        for step_s in self._steps_s:
            if step_s > MINUTE_S:
                cells = _merged(
                    ((int(start_s) // step_s * step_s, *key), cell) for (start_s, *key), cell in cells.items()
                )
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
