"""Short integers for long names, and a limit to how many of each kind there are.

Whatever exceeds a limit shares one name, so that neither memory nor tables grow without end when a sender puts ids
into its names. The caches belong to the indexer's thread. They are emptied whenever a transaction is undone, because
ids given in it may be given again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Hashable
from typing import TypeVar

from apm_store.fingerprint import Statement

OVERFLOW = "otel.overflow"
"""The service, operation, statement or node that stands for all beyond the limit."""

MAX_SERVICES = 1_000
"""More than anybody looks through; ten thousand come from an id in `service.name`."""

MAX_OPERATIONS = 2_000
"""Names of spans per service; each costs roll-up rows every minute. A name counts for the service that brought it."""

MAX_STATEMENTS = 20_000
"""Normalised statements; at up to 8 KB of text each they stay below 160 MB."""

MAX_STREAMS = 2_000
"""Streams per resource and metric: the cardinality limit of OpenTelemetry's SDKs."""

MAX_NODES = 3 * MAX_SERVICES
"""Nodes of the service map: every service, and as many databases and foreign hosts twice over."""

FAMILY_BYTES = 8
"""The digest of a stream begins with those of its family: its resource and the name of its metric."""

_OPERATION_BITS = 11  # the ids of a service's operations lie in a range of their own, of 2,048
_OVERFLOW_OPERATION = 1  # in the range of service 0, which there is not
_OVERFLOW_STATEMENT = Statement(OVERFLOW, f"(all statements beyond the first {MAX_STATEMENTS:,})")
_OVERFLOW_STREAM = bytes(16)
_MAX_CACHED = 50_000  # of each kind; beyond, a cache starts anew
_MAX_CACHED_CHARS = 1_000  # longer names are looked up each time
_MAX_NOTICES = 100  # a day's notices name so many metrics and services; the others are alike
_NS_PER_DAY = 86_400_000_000_000
_NOTICE = (
    "INSERT INTO notice (time_ns, state, text) SELECT ?1, 'warn', ?2 "
    "WHERE NOT EXISTS (SELECT 1 FROM notice WHERE time_ns >= ?3 AND text = ?2)"
)

_Key = TypeVar("_Key", bound=Hashable)


class Dictionaries:
    """Looks names up, and adds those that are new, in the transaction that is open on `connection`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._services: dict[str, int] = {}
        self._operations: dict[str, int] = {}
        self._statements: dict[str, int] = {}
        self._streams: dict[bytes, int] = {}
        self._nodes: dict[tuple[str, bool], int] = {}
        self._counts: dict[str | bytes | int, int] = {}  # by table, by family of streams, by service of operations
        self._exceeded: dict[tuple[str, int], None] = {}
        self._told: tuple[int, set[tuple[str, int]]] = (0, set())

    def service_id(self, name: str) -> int:
        """The id of a service; a new one gets the next free colour slot, one too many is `OVERFLOW`."""
        found = self._services.get(name)
        if found is None:
            found = self._find("SELECT id FROM service WHERE name = ?", name)
            if found is None:
                if name != OVERFLOW and self._is_full("service", MAX_SERVICES):
                    return self.service_id(OVERFLOW)
                found = self._insert("INSERT INTO service (name, slot) SELECT ?, count(*) FROM service", name)
            _remember(self._services, name, found)
        return found

    def operation_id(self, name: str, service_id: int) -> int:
        """The id of a span name, which is the same for all services; `OVERFLOW` when the service brings too many."""
        found = self._operations.get(name)
        if found is None:
            found = self._find("SELECT id FROM operation WHERE name = ?", name)
            if found is None:
                new = _OVERFLOW_OPERATION if name == OVERFLOW else self._next_operation(service_id)
                if new is None:
                    return self.operation_id(OVERFLOW, service_id)
                found = self._insert("INSERT INTO operation (id, name) VALUES (?, ?)", new, name)
            _remember(self._operations, name, found)
        return found

    def statement_id(self, statement: Statement, system: str, namespace: str) -> int:
        """The id of a normalised statement; the namespace is that of its first call. One too many is `OVERFLOW`."""
        found = self._statements.get(statement.hash)
        if found is None:
            found = self._find("SELECT id FROM statement WHERE hash = ?", statement.hash)
            if found is None:
                if statement is not _OVERFLOW_STATEMENT and self._is_full("statement", MAX_STATEMENTS):
                    return self.statement_id(_OVERFLOW_STATEMENT, "", "")
                sql = "INSERT INTO statement (hash, system, namespace, text) VALUES (?, ?, ?, ?)"
                found = self._insert(sql, statement.hash, system, namespace, statement.text)
            _remember(self._statements, statement.hash, found)
        return found

    def stream_id(self, digest: bytes, service_id: int, name: str) -> int:
        """The id of a metric stream, known by the digest of its identity; that of its family when it is one too many.

        `digest` has 24 bytes: those of the family, then 16 of the stream.
        """
        found = self._streams.get(digest)
        if found is None:
            found = self._find("SELECT id FROM metric_stream WHERE digest = ?", digest)
            if found is None:
                if not is_overflow_stream(digest) and self._is_full_family(digest[:FAMILY_BYTES]):
                    self._exceed(name, service_id)
                    return self.stream_id(digest[:FAMILY_BYTES] + _OVERFLOW_STREAM, service_id, name)
                sql = "INSERT INTO metric_stream (digest, service_id, name) VALUES (?, ?, ?)"
                found = self._insert(sql, digest, service_id, name)
            _remember(self._streams, digest, found)
        return found

    def node_id(self, name: str, is_virtual: bool) -> int:
        """The id of a node of the service map; one too many is the virtual `OVERFLOW`."""
        found = self._nodes.get((name, is_virtual))
        if found is None:
            found = self._find("SELECT id FROM node WHERE name = ? AND is_virtual = ?", name, is_virtual)
            if found is None:
                if name != OVERFLOW and self._is_full("node", MAX_NODES):
                    return self.node_id(OVERFLOW, True)
                found = self._insert("INSERT INTO node (name, is_virtual) VALUES (?, ?)", name, is_virtual)
            _remember(self._nodes, (name, is_virtual), found)
        return found

    def write_notices(self, now_ns: int) -> None:
        """Note which limits were exceeded since the last call, each once a day; to be called before a commit."""
        day = now_ns // _NS_PER_DAY
        if self._told[0] != day:
            self._told = (day, set())
        told = self._told[1]
        for subject in self._exceeded:
            if subject not in told and len(told) < _MAX_NOTICES:
                told.add(subject)
                self._connection.execute(_NOTICE, (now_ns, self._notice(*subject), day * _NS_PER_DAY))
        self._exceeded.clear()

    def clear(self) -> None:
        """Forget everything; the database is asked again."""
        for cache in (self._services, self._operations, self._statements, self._streams, self._nodes, self._counts):
            cache.clear()
        self._exceeded.clear()
        self._told = (0, set())

    def _is_full(self, table: str, limit: int) -> bool:
        """Whether a table has no place for one more name; when it has, the place is taken."""
        count = self._counts.get(table)
        if count is None:
            count = self._find(f"SELECT count(*) FROM {table}") or 0  # noqa: S608 – names from this file
        self._counts[table] = count if count >= limit else count + 1
        if count >= limit:
            self._exceed(table, 0)
        return count >= limit

    def _is_full_family(self, family: bytes) -> bool:
        count = self._counts.get(family)
        if count is None:
            sql = "SELECT count(*) FROM metric_stream WHERE digest >= ? AND digest < ?"
            count = self._find(sql, family, family + b"\xff" * 17) or 0
        _remember(self._counts, family, count if count >= MAX_STREAMS else count + 1)
        return count >= MAX_STREAMS

    def _next_operation(self, service_id: int) -> int | None:
        """A free id in the service's range; None when it has brought as many names as it may."""
        start = service_id << _OPERATION_BITS
        last = self._counts.get(service_id)
        if last is None:
            last = self._find("SELECT max(id) FROM operation WHERE id >= ? AND id <= ?", start, start + MAX_OPERATIONS)
            last = last or start
        if last - start >= MAX_OPERATIONS:
            self._exceed("operation", service_id)
            return None
        _remember(self._counts, service_id, last + 1)
        return last + 1

    def _exceed(self, what: str, service_id: int) -> None:
        if len(self._exceeded) < _MAX_NOTICES:
            self._exceeded[what, service_id] = None

    def _notice(self, what: str, service_id: int) -> str:
        if what in ("service", "statement", "node") and not service_id:
            limit, names = {
                "service": (MAX_SERVICES, "services"),
                "statement": (MAX_STATEMENTS, "different database statements"),
                "node": (MAX_NODES, "nodes in the service map"),
            }[what]
            return (
                f"There are more than {limit:,} {names}; the others count as {OVERFLOW}. Look for ids in their names."
            )
        [service] = self._connection.execute("SELECT name FROM service WHERE id = ?", (service_id,)).fetchone()
        if what == "operation":
            return (
                f"Service {service} has more than {MAX_OPERATIONS:,} span names; the others count as {OVERFLOW}. "
                "Look for ids in its span names: they belong into attributes."
            )
        return (
            f"Metric {what[:200]} of {service} has more than {MAX_STREAMS:,} sets of attributes in one process; "
            "the others are one stream, otel.metric.overflow=true. Look for ids in its attributes."
        )

    def _find(self, sql: str, *values: str | bytes | int) -> int | None:
        row = self._connection.execute(sql, values).fetchone()
        return None if row is None or row[0] is None else int(row[0])

    def _insert(self, sql: str, *values: str | bytes | int) -> int:
        return self._connection.execute(sql, values).lastrowid or 0


def is_overflow_stream(digest: bytes) -> bool:
    """Whether a stream stands for all of its family beyond the limit."""
    return digest[FAMILY_BYTES:] == _OVERFLOW_STREAM


def _remember(cache: dict[_Key, int], key: _Key, value: int) -> None:
    if isinstance(key, str) and len(key) > _MAX_CACHED_CHARS:
        return
    if len(cache) >= _MAX_CACHED:
        cache.clear()
    cache[key] = value
