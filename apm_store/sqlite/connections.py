"""Opens connections to the database file, each with the settings that keep it safe.

One connection writes and alone checkpoints; all others only read. The file is never opened by any other means,
because closing a plain file handle would cancel SQLite's locks.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from apm_store.api import SchemaError
from apm_store.sqlite.migrations import Schema, check_readable, migrate, refuse_foreign
from apm_store.sqlite.wal import wal_bytes

BUSY_TIMEOUT_MS = 5_000
_CHECKPOINT_PAGES = 4_000  # 16 MB of WAL: a checkpoint every few dozen full commits
_WAL_LIMIT_BYTES = 64 * 1024 * 1024


def connect_writer(path: Path, schema: Schema) -> sqlite3.Connection:
    """The one connection that writes; makes the file (mode 0600) and its directory (0700) when they are missing.

    Brings the schema up to date. Raises SchemaError for a file that is not ours or newer than this version.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))  # SQLite would make it 0644
    pragmas = (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "auto_vacuum = INCREMENTAL",  # takes effect in an empty database only
        "journal_mode = WAL",
        "synchronous = FULL",
        "mmap_size = 0",
        "foreign_keys = OFF",
        "temp_store = MEMORY",
        f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
        f"journal_size_limit = {_WAL_LIMIT_BYTES}",
    )
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    with _closed_on_error(connection):
        refuse_foreign(connection, schema)  # before the first pragma changes anything
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
        migrate(connection, schema)
    return connection


def connect_reader(path: Path, schema: Schema) -> sqlite3.Connection:
    """A connection that can only read, and never checkpoints; usable from any one thread at a time.

    Raises SchemaError unless the database has the current schema, and when only a writer can put it in order.
    """
    pragmas = (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "query_only = ON",
        "wal_autocheckpoint = 0",
        "mmap_size = 0",
        "temp_store = MEMORY",
    )
    uri = f"file:{quote(str(path))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    try:
        with _closed_on_error(connection):
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}")
            check_readable(connection, schema)
    except sqlite3.OperationalError as error:
        if not _needs_writer(path, error):
            raise
        raise SchemaError(
            f"{path} cannot be read: the last run ended without closing it. Start `spanwise up` once on its directory: "
            "that puts it in order."
        ) from error
    return connection


def _needs_writer(path: Path, error: sqlite3.OperationalError) -> bool:
    """Whether a killed writer left what a reader must undo or take up first, and may not: a journal or a WAL."""
    text = str(error)  # SQLite's error codes are not told before Python 3.11
    return "readonly database" in text or ("unable to open" in text and wal_bytes(path) > 0)


@contextmanager
def _closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, SchemaError):
        connection.close()
        raise
