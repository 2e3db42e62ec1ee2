"""Short integers for long names: services, operations, statements and metric streams.

The caches belong to the writer thread. They are emptied whenever a transaction is undone, because ids
given in it may be given again.
"""

from __future__ import annotations

import sqlite3
from typing import TypeVar

from apm_store.fingerprint import Statement

_Key = TypeVar("_Key", str, bytes)

_MAX_CACHED = 50_000  # of names and streams, each; beyond, a cache starts anew


class Dictionaries:
    """Looks names up, and adds those that are new, in the open transaction of `connection`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._services: dict[str, int] = {}
        self._operations: dict[str, int] = {}
        self._statements: dict[str, int] = {}
        self._streams: dict[bytes, int] = {}

    def service_id(self, name: str) -> int:
        """The id of a service; a new one gets the next free colour slot."""
        found = self._services.get(name)
        if found is None:
            sql = "INSERT INTO service (name, slot) SELECT ?, count(*) FROM service"
            found = self._find("SELECT id FROM service WHERE name = ?", name) or self._insert(sql, name)
            _remember(self._services, name, found)
        return found

    def operation_id(self, name: str) -> int:
        """The id of an operation."""
        found = self._operations.get(name)
        if found is None:
            sql = "INSERT INTO operation (name) VALUES (?)"
            found = self._find("SELECT id FROM operation WHERE name = ?", name) or self._insert(sql, name)
            _remember(self._operations, name, found)
        return found

    def statement_id(self, statement: Statement, system: str, namespace: str) -> int:
        """The id of a normalised statement; the namespace is that of its first call."""
        found = self._statements.get(statement.hash)
        if found is None:
            sql = "INSERT INTO statement (hash, system, namespace, text) VALUES (?, ?, ?, ?)"
            found = self._find("SELECT id FROM statement WHERE hash = ?", statement.hash) or self._insert(
                sql, statement.hash, system, namespace, statement.text
            )
            _remember(self._statements, statement.hash, found)
        return found

    def stream_id(self, digest: bytes, service_id: int, name: str) -> int:
        """The id of a metric stream, known by the digest of its identity."""
        found = self._streams.get(digest)
        if found is None:
            sql = "INSERT INTO metric_stream (digest, service_id, name) VALUES (?, ?, ?)"
            found = self._find("SELECT id FROM metric_stream WHERE digest = ?", digest) or self._insert(
                sql, digest, service_id, name
            )
            _remember(self._streams, digest, found)
        return found

    def clear(self) -> None:
        """Forget everything; the database is asked again."""
        for cache in (self._services, self._operations, self._statements, self._streams):
            cache.clear()

    def _find(self, sql: str, value: str | bytes) -> int | None:
        row = self._connection.execute(sql, (value,)).fetchone()
        return None if row is None else int(row[0])

    def _insert(self, sql: str, *values: str | bytes | int) -> int:
        return self._connection.execute(sql, values).lastrowid or 0


def _remember(cache: dict[_Key, int], key: _Key, value: int) -> None:
    if len(cache) >= _MAX_CACHED:
        cache.clear()
    cache[key] = value
