"""Copies a store while it is in use: first the databases, then the logs, which so contain all that the databases know.

Works from any process, and never opens a database's file by other means than SQLite.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

from apm_store.api import StoreError
from apm_store.sqlite.connections import connect_reader
from apm_store.sqlite.migrations import CATALOGUE, SEGMENT, Schema
from apm_store.sqlite.segments import CATALOGUE_NAME, SegmentFiles, kept_ids, segment_ids, sync_directory

_COPIED_BYTES = 1024 * 1024


def back_up(data_dir: Path, target: Path) -> None:
    """Copy the store into a directory that does not exist yet; all that was acknowledged before the call is in it.

    The copy is a store of its own. What its indexes lack is indexed when it is first opened for writing.
    Raises StoreError when the target exists, or something cannot be copied; nothing is left there then.
    """
    if target.exists():
        raise StoreError(f"{target} exists already; a backup goes into a directory of its own.")
    if not (data_dir / CATALOGUE_NAME).exists():
        raise StoreError(f"There is no database at {data_dir / CATALOGUE_NAME} to back up.")
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700, parents=True)
        _copy(data_dir, unfinished)
        unfinished.rename(target)
        sync_directory(target.parent)
    except (OSError, sqlite3.Error, StoreError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise StoreError(f"The store could not be copied to {target}: {error}.") from error


def _copy(data_dir: Path, target: Path) -> None:
    (target / "segments").mkdir(mode=0o700)
    with ExitStack() as stack:
        # A log that is open can be copied to its end, even when its segment is dropped meanwhile.
        logs = {segment_id: _open_log(data_dir, segment_id, stack) for segment_id in _ids(data_dir)}
        for segment_id in logs:
            _copy_index(SegmentFiles(data_dir, segment_id), SegmentFiles(target, segment_id))
        _copy_database(data_dir / CATALOGUE_NAME, target / CATALOGUE_NAME, CATALOGUE)
        listed, last = _listed(target / CATALOGUE_NAME)
        for segment_id in _ids(data_dir):
            if segment_id not in logs:
                logs[segment_id] = _open_log(data_dir, segment_id, stack)
        for segment_id, log in logs.items():
            files = SegmentFiles(target, segment_id)
            if log is not None and (segment_id in listed or segment_id >= last):
                _copy_log(log, files)
            else:  # it was dropped before the catalogue was copied
                shutil.rmtree(files.directory, ignore_errors=True)
    sync_directory(target / "segments")
    sync_directory(target)


def _ids(data_dir: Path) -> list[int]:
    return [*segment_ids(data_dir), *kept_ids(data_dir)]


def _open_log(data_dir: Path, segment_id: int, stack: ExitStack) -> int | None:
    try:
        fd = os.open(SegmentFiles(data_dir, segment_id).log, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    stack.callback(os.close, fd)
    return fd


def _copy_index(source: SegmentFiles, target: SegmentFiles) -> None:
    """Copy the index of a segment; one that is gone, or being made, is left out and will be made anew."""
    target.directory.mkdir(mode=0o700)
    try:
        _copy_database(source.index, target.index, SEGMENT)
    except (sqlite3.Error, StoreError):
        for path in target.directory.glob("*"):
            path.unlink()


def _copy_database(source: Path, target: Path, schema: Schema) -> None:
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with closing(connect_reader(source, schema)) as reading, closing(sqlite3.connect(target)) as writing:
        reading.backup(writing)


def _listed(catalogue: Path) -> tuple[set[int], int]:
    """The segments that a copied catalogue knows, and the one in which the last body lies that it contains."""
    with closing(sqlite3.connect(catalogue)) as connection:
        [(last,)] = connection.execute("SELECT segment_id FROM applied")
        return {segment_id for (segment_id,) in connection.execute("SELECT id FROM segment")}, last


def _copy_log(log: int, files: SegmentFiles) -> None:
    files.directory.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(files.log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        at = 0
        while chunk := os.pread(log, _COPIED_BYTES, at):
            view = memoryview(chunk)
            while view:
                view = view[os.write(fd, view) :]
            at += len(chunk)
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_directory(files.directory)
