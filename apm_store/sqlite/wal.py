"""Keeps write-ahead logs small: they cannot be emptied while somebody reads for long."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from apm_store.sqlite.segments import size_of

MAX_WAL_BYTES = 160 * 1024 * 1024
"""A database whose WAL is longer is not written until it is emptied; one commit more keeps it below 256 MiB."""


def wal_bytes(database: Path) -> int:
    """The size of a database's WAL."""
    return size_of(database.with_name(f"{database.name}-wal"))


def shrink_wal(connection: sqlite3.Connection) -> None:
    """Empty the WAL, unless somebody reads from it; no transaction may be open on the writer's connection."""
    [(timeout_ms,)] = connection.execute("PRAGMA busy_timeout").fetchall()
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {timeout_ms}")
