"""What the batches of one commit share: the connection, the dictionaries, and the sums that are added at its end."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from apm_store.sqlite.dictionaries import Dictionaries
from apm_store.sqlite.rollups import SPAN_KEY, STATEMENT_KEY, Rollup


@dataclass(frozen=True, slots=True)
class Written:
    """How many items of a body are new, and between which times all of its items lie."""

    stored: int
    first_ns: int
    last_ns: int


class Transaction:
    """The state of the writer's transactions; one at a time is open."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.dictionaries = Dictionaries(connection)
        self.span_rollup = Rollup("span_rollup", SPAN_KEY)
        self.statement_rollup = Rollup("statement_rollup", STATEMENT_KEY)
        self._counts: Counter[str] = Counter()
        self._seen: dict[int, tuple[int, int]] = {}
        self._deferred: list[Callable[[], None]] = []

    def insert_new(self, sql: str, rows: list[tuple[object, ...]]) -> int:
        """Run an INSERT OR IGNORE for many rows and tell how many of them it stored."""
        before = self.connection.total_changes
        self.connection.executemany(sql, rows)
        return self.connection.total_changes - before

    def when_stored(self, action: Callable[[], None]) -> None:
        """Have something summed up only if the open batch is stored as a whole."""
        self._deferred.append(action)

    def accept(self) -> None:
        """The open batch is stored: do what was put off."""
        for action in self._deferred:
            action()
        self._deferred.clear()

    def reject(self) -> None:
        """The open batch is undone: drop what was put off, and every cached id."""
        self._deferred.clear()
        self.dictionaries.clear()

    def count(self, signal: str, stored: int) -> None:
        """Count stored items of a signal."""
        self._counts[signal] += stored

    def see_service(self, service_id: int, start_ns: int) -> None:
        """Note that a service has a span that starts at a time."""
        first, last = self._seen.get(service_id, (start_ns, start_ns))
        self._seen[service_id] = (min(first, start_ns), max(last, start_ns))

    def flush(self) -> None:
        """Add all sums to their tables; to be called right before the commit."""
        minutes = [(start_s,) for start_s in self.span_rollup.minutes()]
        self.connection.executemany("INSERT OR IGNORE INTO minute VALUES (?)", minutes)
        self.span_rollup.flush(self.connection)
        self.statement_rollup.flush(self.connection)
        self.connection.executemany(
            "UPDATE counter SET value = value + ? WHERE name = ?",
            [(count, name) for name, count in self._counts.items()],
        )
        self.connection.executemany(
            "UPDATE service SET first_seen_ns = min(coalesce(first_seen_ns, ?1), ?1), "
            "last_seen_ns = max(coalesce(last_seen_ns, ?2), ?2) WHERE id = ?3",
            [(first, last, service_id) for service_id, (first, last) in self._seen.items()],
        )
        self._counts.clear()
        self._seen.clear()

    def forget(self) -> None:
        """Drop every sum and every cached id, because the transaction is undone."""
        self.reject()
        self.span_rollup.clear()
        self.statement_rollup.clear()
        self._counts.clear()
        self._seen.clear()
