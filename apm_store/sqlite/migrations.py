"""Brings a database to the current schema, one numbered step per transaction, on `PRAGMA user_version`.

There are two kinds of databases: the catalogue, and the index of a segment.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from apm_store.api import SchemaError
from apm_store.sketch import Sketch

_Step = Callable[[sqlite3.Connection], None]

_CATALOGUE_1 = """
CREATE TABLE service (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, slot INTEGER NOT NULL, first_seen_ns INTEGER, last_seen_ns INTEGER
) STRICT;
CREATE UNIQUE INDEX ix_service_name ON service (name);
CREATE TABLE operation (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
CREATE UNIQUE INDEX ix_operation_name ON operation (name);
CREATE TABLE statement (
    id INTEGER PRIMARY KEY, hash TEXT NOT NULL, system TEXT NOT NULL, namespace TEXT NOT NULL, text TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX ix_statement_hash ON statement (hash);
CREATE TABLE span_rollup (
    step_s INTEGER NOT NULL, start_s INTEGER NOT NULL, service_id INTEGER NOT NULL, operation_id INTEGER NOT NULL,
    kind INTEGER NOT NULL, is_entry INTEGER NOT NULL, outcome TEXT NOT NULL, count INTEGER NOT NULL,
    sum_ns INTEGER NOT NULL, max_ns INTEGER NOT NULL, max_trace_id BLOB NOT NULL, sketch BLOB NOT NULL,
    PRIMARY KEY (step_s, start_s, service_id, operation_id, kind, is_entry, outcome)
) STRICT, WITHOUT ROWID;
CREATE TABLE minute (start_s INTEGER PRIMARY KEY) STRICT;
CREATE TABLE statement_rollup (
    step_s INTEGER NOT NULL, start_s INTEGER NOT NULL, service_id INTEGER NOT NULL, statement_id INTEGER NOT NULL,
    outcome TEXT NOT NULL, count INTEGER NOT NULL, sum_ns INTEGER NOT NULL, max_ns INTEGER NOT NULL,
    max_trace_id BLOB NOT NULL, sketch BLOB NOT NULL,
    PRIMARY KEY (step_s, start_s, service_id, statement_id, outcome)
) STRICT, WITHOUT ROWID;
CREATE TABLE metric_stream (
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL, service_id INTEGER NOT NULL, name TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX ix_metric_stream_digest ON metric_stream (digest);
CREATE INDEX ix_metric_stream_name ON metric_stream (name, service_id);

CREATE TABLE edge_rollup (
    step_s INTEGER NOT NULL, start_s INTEGER NOT NULL, source_id INTEGER NOT NULL, target_id INTEGER NOT NULL,
    kind TEXT NOT NULL, count INTEGER NOT NULL, failed_count INTEGER NOT NULL, client_sketch BLOB NOT NULL,
    server_sketch BLOB NOT NULL, PRIMARY KEY (step_s, start_s, source_id, target_id, kind)
) STRICT, WITHOUT ROWID;
CREATE TABLE node (id INTEGER PRIMARY KEY, name TEXT NOT NULL, is_virtual INTEGER NOT NULL) STRICT;
CREATE UNIQUE INDEX ix_node_name ON node (name, is_virtual);

CREATE TABLE segment (
    id INTEGER PRIMARY KEY, created_ns INTEGER NOT NULL, is_kept INTEGER NOT NULL, spans INTEGER NOT NULL,
    data_points INTEGER NOT NULL, log_records INTEGER NOT NULL, first_ns INTEGER, last_ns INTEGER,
    first_received_ns INTEGER, last_received_ns INTEGER
) STRICT;
CREATE TABLE applied (
    id INTEGER PRIMARY KEY, segment_id INTEGER NOT NULL, seq INTEGER NOT NULL, offset INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT;
INSERT INTO applied VALUES (1, 0, 0, 0, 0);

CREATE TABLE prune (
    id INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, reason TEXT NOT NULL, first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL, spans INTEGER NOT NULL, log_records INTEGER NOT NULL, data_points INTEGER NOT NULL,
    freed_bytes INTEGER NOT NULL, kept_traces INTEGER NOT NULL
) STRICT;
CREATE TABLE retention (id INTEGER PRIMARY KEY, budget_bytes INTEGER NOT NULL) STRICT;
CREATE TABLE notice (
    id INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, state TEXT NOT NULL, text TEXT NOT NULL
) STRICT;

CREATE TABLE counter (
    name TEXT NOT NULL PRIMARY KEY, stored INTEGER NOT NULL, duplicates INTEGER NOT NULL, pruned INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counter (name, stored, duplicates, pruned) VALUES
    ('traces', 0, 0, 0), ('metrics', 0, 0, 0), ('logs', 0, 0, 0);
"""

_CATALOGUE_2 = """
CREATE TABLE service_rollup (
    step_s INTEGER NOT NULL, start_s INTEGER NOT NULL, service_id INTEGER NOT NULL, outcome TEXT NOT NULL,
    count INTEGER NOT NULL, sum_ns INTEGER NOT NULL, max_ns INTEGER NOT NULL, max_trace_id BLOB NOT NULL,
    sketch BLOB NOT NULL, PRIMARY KEY (step_s, start_s, service_id, outcome)
) STRICT, WITHOUT ROWID;
WITH step (length_s) AS (VALUES (60), (300), (900), (3600))
INSERT INTO service_rollup
SELECT length_s, start_s / length_s * length_s, service_id, outcome, sum(count),
       CAST(min(total(sum_ns), 9e18) AS INTEGER), max(max_ns), max_trace_id,
       packed_again(CAST(group_concat(sketch, '') AS BLOB))
FROM step JOIN span_rollup ON step_s = iif(length_s = 3600, 3600, 60)
WHERE is_entry = 1
GROUP BY 1, 2, 3, 4
"""

_CATALOGUE_3 = "ALTER TABLE applied ADD COLUMN settled_ns INTEGER"

_SEGMENT_1 = """
CREATE TABLE state (
    id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, offset INTEGER NOT NULL, first_unsettled_block INTEGER NOT NULL
) STRICT;
INSERT INTO state VALUES (1, 0, 0, 0);

CREATE TABLE body (
    seq INTEGER PRIMARY KEY, offset INTEGER NOT NULL, length INTEGER NOT NULL, signal TEXT NOT NULL,
    received_ns INTEGER NOT NULL, first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, item_count INTEGER NOT NULL,
    digest BLOB
) STRICT;
CREATE UNIQUE INDEX ix_body_digest ON body (digest) WHERE digest IS NOT NULL;

CREATE TABLE block (
    id INTEGER PRIMARY KEY, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL, first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL, span_count INTEGER NOT NULL, entry_count INTEGER NOT NULL, is_open INTEGER NOT NULL,
    zones BLOB NOT NULL, data BLOB NOT NULL
) STRICT;
CREATE INDEX ix_block_time ON block (last_ns);
CREATE TABLE block_filter (block_id INTEGER PRIMARY KEY, bits BLOB NOT NULL) STRICT;

CREATE TABLE trace (
    trace_id BLOB NOT NULL PRIMARY KEY, first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL,
    span_count INTEGER NOT NULL, error_count INTEGER NOT NULL, root_service_id INTEGER NOT NULL,
    root_operation_id INTEGER NOT NULL, bodies BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE log_record (
    id INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, observed_ns INTEGER NOT NULL, trace_id BLOB, span_id BLOB,
    service_id INTEGER NOT NULL, severity_number INTEGER NOT NULL
) STRICT;
CREATE INDEX ix_log_record_time ON log_record (time_ns);
CREATE INDEX ix_log_record_service ON log_record (service_id, time_ns);
CREATE INDEX ix_log_record_trace ON log_record (trace_id, time_ns) WHERE trace_id IS NOT NULL;

CREATE TABLE data_point (
    stream_id INTEGER NOT NULL, time_ns INTEGER NOT NULL, start_ns INTEGER NOT NULL, content INTEGER NOT NULL,
    id INTEGER NOT NULL, value REAL, value_count INTEGER,
    PRIMARY KEY (stream_id, time_ns, start_ns, content)
) STRICT, WITHOUT ROWID;
"""

_SEGMENT_2 = """
ALTER TABLE log_record ADD COLUMN event TEXT;
CREATE INDEX ix_log_record_event ON log_record (event, time_ns) WHERE event IS NOT NULL"""


def _executing(script: str) -> _Step:
    def step(connection: sqlite3.Connection) -> None:
        for sql in script.split(";"):
            connection.execute(sql)

    return step


def _add_service_rollup(connection: sqlite3.Connection) -> None:
    connection.create_function("packed_again", 1, lambda sketches: Sketch.from_bytes(sketches).to_bytes())
    _executing(_CATALOGUE_2)(connection)


@dataclass(frozen=True, slots=True)
class Schema:
    """One kind of database: how it is recognised, and the steps that lead to its current version.

    Step n (from 0) leads from version n to n + 1; a released step never changes.
    """

    application_id: int
    steps: tuple[_Step, ...]


CATALOGUE = Schema(0x5370_616F, (_executing(_CATALOGUE_1), _add_service_rollup, _executing(_CATALOGUE_3)))
SEGMENT = Schema(0x5370_6170, (_executing(_SEGMENT_1), _executing(_SEGMENT_2)))
VERSION_1_ID = 0x5370_616E
"""The application id of the only release that kept everything in one database."""


def migrate(connection: sqlite3.Connection, schema: Schema) -> None:
    """Apply the steps that the database lacks; `connection` is the writer's."""
    for version in range(_version(connection), len(schema.steps)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            schema.steps[version](connection)
            connection.execute(f"PRAGMA application_id = {schema.application_id}")
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def check_readable(connection: sqlite3.Connection, schema: Schema) -> None:
    """Raise SchemaError unless the database has exactly the current schema."""
    if schema is CATALOGUE and connection.execute("PRAGMA application_id").fetchone()[0] == VERSION_1_ID:
        raise SchemaError(
            "The database was written by Spanwise 0.1. Start `spanwise up` once on its directory: that brings it up "
            "to date."
        )
    refuse_foreign(connection, schema)
    if (version := _version(connection)) < len(schema.steps):
        raise SchemaError(
            f"The database has schema version {version}, this Spanwise reads version {len(schema.steps)}. "
            "Start `spanwise up` once on its directory: that brings it up to date."
        )


def refuse_foreign(connection: sqlite3.Connection, schema: Schema) -> None:
    """Raise SchemaError unless the database is empty or ours, and not newer than this version."""
    version, application_id = _version(connection), connection.execute("PRAGMA application_id").fetchone()[0]
    is_empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if application_id != schema.application_id and not (is_empty and version == 0 and application_id == 0):
        raise SchemaError("The file is not a Spanwise database. Choose another data directory, or move the file away.")
    if is_newer(connection, schema):
        raise SchemaError(
            f"The database has schema version {version}, this Spanwise knows versions up to {len(schema.steps)}. "
            "Use the newer Spanwise that wrote it, or another data directory."
        )


def is_newer(connection: sqlite3.Connection, schema: Schema) -> bool:
    """Whether the database is ours, and of a version that only later releases know."""
    is_ours = connection.execute("PRAGMA application_id").fetchone()[0] == schema.application_id
    return is_ours and _version(connection) > len(schema.steps)


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
