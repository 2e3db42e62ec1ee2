"""Takes over what the first release stored: one database that held the requests themselves."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from apm_store.api import StoreError
from apm_store.model import Signal
from apm_store.sqlite.body_log import BodyLog, encode_frame
from apm_store.sqlite.connections import BUSY_TIMEOUT_MS
from apm_store.sqlite.migrations import VERSION_1_ID
from apm_store.sqlite.segments import CATALOGUE_NAME, SegmentFiles, sync_directory

_ADOPTING = "adopting"
_SEGMENTS = "segments"
_CODEC = "zstd"  # the same compression as that of the log
_FRAMES = 64
_BODIES = "SELECT signal, received_ns, item_count, codec, data FROM body ORDER BY id"

_log = logging.getLogger(__name__)


def adopt_version_1(data_dir: Path, segment_bytes: int) -> None:
    """Copy the requests of a database of the first release into new logs, and set that database aside.

    The logs are written in a directory of their own. It counts only once the database has its new name; so whatever
    breaks off is begun anew or ended at the next start. Raises StoreError when a request cannot be copied.
    """
    path, adopting = data_dir / CATALOGUE_NAME, data_dir / _ADOPTING
    if _is_version_1(path):
        shutil.rmtree(adopting, ignore_errors=True)
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            database.execute("PRAGMA journal_mode = DELETE")  # so that the database is one file
            _copy(database, adopting, segment_bytes)
        target = _set_aside_name(data_dir)
        path.rename(target)
        sync_directory(data_dir)
        _log.warning("The data of the first release was taken over; its database is kept as %s.", target)
    if adopting.exists() and not path.exists():
        if (adopting / _SEGMENTS).exists():
            (adopting / _SEGMENTS).rename(data_dir / _SEGMENTS)
            sync_directory(data_dir)
        adopting.rmdir()


def _is_version_1(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True)) as database:
            found: int = database.execute("PRAGMA application_id").fetchone()[0]
            return found == VERSION_1_ID
    except sqlite3.Error:
        return False


def _copy(database: sqlite3.Connection, adopting: Path, segment_bytes: int) -> None:
    """Write all bodies into logs below a directory, durably."""
    segment_id = 0
    log: BodyLog | None = None
    seq = 0
    try:
        rows = database.execute(_BODIES)
        while batch := rows.fetchmany(_FRAMES):
            if log is None or log.size >= segment_bytes:
                if log is not None:
                    log.close()
                segment_id, seq = segment_id + 1, 0
                log = _new_log(adopting, segment_id)
            log.append([_frame(number, *row) for number, row in enumerate(batch, seq + 1)])
            seq += len(batch)
    finally:
        if log is not None:
            log.close()
    if log is None:
        _new_log(adopting, 1).close()


def _frame(seq: int, signal: str, received_ns: int, item_count: int, codec: str, data: bytes) -> bytes:
    if codec != _CODEC:
        raise StoreError(f"A stored request has the codec {codec!r}; this Spanwise reads {_CODEC!r} alone.")
    return encode_frame(seq, Signal(signal), received_ns, item_count, data)


def _new_log(adopting: Path, segment_id: int) -> BodyLog:
    files = SegmentFiles(adopting, segment_id)
    for directory in (adopting, files.directory.parent, files.directory):
        directory.mkdir(mode=0o700, exist_ok=True)
    log = BodyLog(files.log)
    for directory in (files.directory, files.directory.parent, adopting, adopting.parent):
        sync_directory(directory)
    return log


def _set_aside_name(data_dir: Path) -> Path:
    target = data_dir / "spanwise-v1.db"
    return target if not target.exists() else data_dir / f"spanwise-v1-{time.time_ns()}.db"
