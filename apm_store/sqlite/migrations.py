"""Brings a database to the current schema, one numbered step per transaction, on `PRAGMA user_version`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from apm_store.api import SchemaError

APPLICATION_ID = 0x5370_616E  # "Span"

_VERSION_1 = """
CREATE TABLE body (
    id INTEGER PRIMARY KEY, signal TEXT NOT NULL, received_ns INTEGER NOT NULL, first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL, item_count INTEGER NOT NULL, codec TEXT NOT NULL, digest BLOB NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX ix_body_digest ON body (digest);
CREATE INDEX ix_body_time ON body (signal, last_ns, first_ns);
CREATE INDEX ix_body_received ON body (signal, received_ns, item_count);

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

CREATE TABLE span (
    id INTEGER PRIMARY KEY, trace_id BLOB NOT NULL, span_id BLOB NOT NULL, parent_span_id BLOB,
    start_ns INTEGER NOT NULL, duration_ns INTEGER NOT NULL, service_id INTEGER NOT NULL,
    operation_id INTEGER NOT NULL, kind INTEGER NOT NULL, status INTEGER NOT NULL, is_entry INTEGER NOT NULL,
    http_status INTEGER, statement_id INTEGER
) STRICT;
CREATE UNIQUE INDEX ix_span_identity ON span (trace_id, span_id, kind);
CREATE INDEX ix_span_operation ON span (operation_id, start_ns, service_id);
CREATE INDEX ix_span_entry
    ON span (start_ns, duration_ns DESC, trace_id, is_entry, kind, status, http_status) WHERE is_entry = 1;
CREATE INDEX ix_span_service_entry
    ON span (service_id, start_ns, duration_ns DESC, trace_id, is_entry, kind, status, http_status) WHERE is_entry = 1;
CREATE INDEX ix_span_statement ON span (statement_id, start_ns) WHERE statement_id IS NOT NULL;

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

CREATE TABLE log_record (
    id INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, observed_ns INTEGER NOT NULL, trace_id BLOB, span_id BLOB,
    service_id INTEGER NOT NULL, severity_number INTEGER NOT NULL
) STRICT;
CREATE INDEX ix_log_record_time ON log_record (time_ns);
CREATE INDEX ix_log_record_service ON log_record (service_id, time_ns);
CREATE INDEX ix_log_record_trace ON log_record (trace_id, time_ns) WHERE trace_id IS NOT NULL;

CREATE TABLE metric_stream (
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL, service_id INTEGER NOT NULL, name TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX ix_metric_stream_digest ON metric_stream (digest);
CREATE INDEX ix_metric_stream_name ON metric_stream (name, service_id);

CREATE TABLE data_point (
    id INTEGER PRIMARY KEY, stream_id INTEGER NOT NULL, time_ns INTEGER NOT NULL, start_ns INTEGER NOT NULL,
    content INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX ix_data_point_identity ON data_point (stream_id, time_ns, start_ns, content);

CREATE TABLE counter (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO counter (name, value) VALUES ('traces', 0), ('metrics', 0), ('logs', 0);
"""


def _create(connection: sqlite3.Connection) -> None:
    for sql in _VERSION_1.split(";"):
        connection.execute(sql)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_create,)
"""Step n (from 0) leads from version n to n + 1; a released step never changes."""


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the steps that the database lacks; `connection` is the writer's."""
    for version in range(_version(connection), len(MIGRATIONS)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            MIGRATIONS[version](connection)
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def check_readable(connection: sqlite3.Connection) -> None:
    """Raise SchemaError unless the database has exactly the current schema."""
    refuse_foreign(connection)
    if (version := _version(connection)) < len(MIGRATIONS):
        raise SchemaError(
            f"The database has schema version {version}, this Spanwise reads version {len(MIGRATIONS)}. "
            "Start `spanwise up` once on its directory: that brings it up to date."
        )


def refuse_foreign(connection: sqlite3.Connection) -> None:
    """Raise SchemaError unless the database is empty or ours, and not newer than this version."""
    version, application_id = _version(connection), connection.execute("PRAGMA application_id").fetchone()[0]
    is_empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if application_id != APPLICATION_ID and not (is_empty and version == 0 and application_id == 0):
        raise SchemaError("The file is not a Spanwise database. Choose another data directory, or move the file away.")
    if version > len(MIGRATIONS):
        raise SchemaError(
            f"The database has schema version {version}, this Spanwise knows versions up to {len(MIGRATIONS)}. "
            "Use the newer Spanwise that wrote it, or another data directory."
        )


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
