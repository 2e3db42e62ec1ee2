"""Sets databases aside that are damaged, so that they are built anew from the logs; nothing is ever deleted."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from apm_store.api import SchemaError
from apm_store.sqlite.connections import connect_reader
from apm_store.sqlite.migrations import CATALOGUE, SEGMENT, Schema, is_newer
from apm_store.sqlite.segments import SegmentFiles, segment_ids, size_of

_CHECKED_BYTES = 64 * 1024 * 1024  # a larger database is looked at as a whole only after it was found damaged
_SUFFIXES = ("", "-wal", "-shm")

_log = logging.getLogger(__name__)


def set_aside_catalogue(path: Path, *, is_thorough: bool) -> str | None:
    """Set a damaged catalogue aside, and tell what was done; None when it is as it should be.

    Only where there are logs beside it, for without them it has never been ours.
    """
    logs = [SegmentFiles(path.parent, segment_id).log for segment_id in segment_ids(path.parent)]
    if not any(map(size_of, logs)):
        return None
    if not path.exists():
        return f"{path} was missing. It was built anew from the stored requests; older statistics are lost."
    fault = "it is empty" if path.is_file() and not size_of(path) else fault_of(path, CATALOGUE, is_thorough)
    if fault is None:
        return None
    return f"{_set_aside(path, fault)} Older statistics are lost."


def set_aside_index(path: Path, schema: Schema, *, is_thorough: bool) -> str | None:
    """Set the damaged index of a segment aside, and tell what was done; None when it is as it should be."""
    fault = fault_of(path, schema, is_thorough) if path.exists() else None
    return None if fault is None else _set_aside(path, fault)


def is_readable(index: Path) -> bool:
    """Whether the index of a segment that is not written any more is there and looks right at its beginning."""
    if not index.exists():
        return False
    try:
        with closing(connect_reader(index, SEGMENT)) as connection:
            return connection.execute("SELECT seq FROM state").fetchone() is not None
    except (sqlite3.Error, SchemaError):
        return False


def fault_of(path: Path, schema: Schema, is_thorough: bool) -> str | None:
    """What is wrong with a database; None when it can be used, or is empty. Raises SchemaError for a newer one."""
    if path.is_dir():
        return "it is a directory"
    try:  # mode=rw: the WAL that a killed process left can only be read by one who may write
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True)) as connection:
            if is_newer(connection, schema):
                raise SchemaError(f"{path} was written by a newer Spanwise; use that, or another data directory.")
            [(version,)] = connection.execute("PRAGMA user_version")
            [(application_id,)] = connection.execute("PRAGMA application_id")
            [(tables,)] = connection.execute("SELECT count(*) FROM sqlite_master")
            if tables and (application_id != schema.application_id or not version):
                return "it is no database of Spanwise"
            if is_thorough or size_of(path) <= _CHECKED_BYTES:
                [(verdict,)] = connection.execute("PRAGMA quick_check(1)")
                return None if verdict == "ok" else str(verdict)
    except sqlite3.DatabaseError as error:
        if is_corruption(error):
            return str(error)
        raise
    return None


def is_corruption(error: BaseException) -> bool:
    """Whether an error tells of a damaged database: SQLITE_CORRUPT and SQLITE_NOTADB, the others have subclasses."""
    return type(error) is sqlite3.DatabaseError


def set_aside_directory(directory: Path) -> None:
    """Give a directory that is of no use a name by which nobody looks for it, if it is there."""
    if directory.exists():
        directory.rename(_aside(directory))


def _set_aside(path: Path, fault: str) -> str:
    target = _aside(path)
    for suffix in _SUFFIXES:
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(target.with_name(target.name + suffix))
    text = f"{path} was damaged ({fault}). It was set aside as {target.name} and built anew from the stored requests."
    _log.error("%s", text)
    return text


def _aside(path: Path) -> Path:
    now_ns = time.time_ns()
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now_ns // 1_000_000_000))
    return path.with_name(f"{path.name}.corrupt-{stamp}.{now_ns % 1_000_000_000:09}")
