"""Keeps a full disk from doing harm: holds space in reserve, and refuses requests until there is room again."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import threading
from pathlib import Path

from apm_store.api import StoreFullError

RESERVE_BYTES = 16 * 1024 * 1024
"""Given up when the disk is full, so that what was acknowledged can be indexed and old data be removed."""

_FILE_NAME = "reserve"
_MIN_FREE_BYTES = 64 * 1024 * 1024  # a disk with less is not made smaller still
_ROOM_BYTES = 8 * 1024 * 1024  # beyond the reserve, before requests are taken again
_MAX_LOW_BYTES = 256 * 1024 * 1024
_LOW_SHARE = 16

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The errors by which a file cannot grow."""


class DiskGuard:
    """Watches the disk of one data directory; safe from many threads."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._path = data_dir / _FILE_NAME
        self._lock = threading.Lock()
        self._is_full = False
        free_bytes = self.free_bytes()
        if self._path.exists() and free_bytes < _ROOM_BYTES:
            self.found_full()  # databases cannot even be opened on a disk that is full to the last byte
        elif not self._path.exists() and free_bytes >= _MIN_FREE_BYTES:
            self._make_reserve()

    @property
    def is_full(self) -> bool:
        """Whether requests are refused because the disk was full and still has too little room."""
        return self._is_full

    def free_bytes(self) -> int:
        """How much space the disk has left for us."""
        return shutil.disk_usage(self._data_dir).free

    def check(self) -> None:
        """Raise StoreFullError while the disk is full; once there is room for it the reserve is made again."""
        if not self._is_full:
            return
        with self._lock:
            if self._is_full and self.free_bytes() < RESERVE_BYTES + _ROOM_BYTES:
                raise StoreFullError
            self._is_full = False
            self._make_reserve()

    def found_full(self) -> None:
        """Give the reserve up: something could not be written."""
        with self._lock:
            self._is_full = True
            self._path.unlink(missing_ok=True)

    def is_low(self) -> bool:
        """Whether old data must go, lest the disk be full."""
        usage = shutil.disk_usage(self._data_dir)
        reserved = 0 if self._path.exists() else RESERVE_BYTES + _ROOM_BYTES
        return usage.free < min(_MAX_LOW_BYTES, usage.total // _LOW_SHARE) + (reserved if self._is_full else 0)

    def renew_reserve(self) -> None:
        """Make the reserve again, if it was given up and there is room."""
        with self._lock:
            is_missing = not self._is_full and not self._path.exists()
            if is_missing and self.free_bytes() >= _MIN_FREE_BYTES:
                self._make_reserve()

    def _make_reserve(self) -> None:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):  # macOS lacks it
                os.posix_fallocate(fd, 0, RESERVE_BYTES)
            else:
                os.pwrite(fd, bytes(RESERVE_BYTES), 0)
        except OSError:  # it would not have fitted, or the file system cannot do it
            self._path.unlink()
        finally:
            os.close(fd)


def is_disk_full(error: BaseException) -> bool:
    """Whether a write failed for want of space."""
    if isinstance(error, sqlite3.OperationalError):
        return "disk is full" in str(error)
    return isinstance(error, StoreFullError) or (isinstance(error, OSError) and error.errno in FULL)
