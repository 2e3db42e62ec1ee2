"""Opens a store: the only file that names a backend."""

from __future__ import annotations

from pathlib import Path

from apm_store.api import Store
from apm_store.query import Retention


def open_store(data_dir: Path, *, read_only: bool = False, retention: Retention | None = None) -> Store:
    """Open the store in a data directory, for writing (made and migrated if need be) or for reading only.

    One process may hold it open for writing; any number may read. `retention` bounds a store that is written; None
    for the usual bounds.
    Raises SchemaError when the database belongs to a newer version or to somebody else.
    """
    from apm_store.sqlite.store import SqliteStore  # the backend is loaded only where a store is opened

    return SqliteStore(data_dir, read_only=read_only, retention=retention or Retention())
