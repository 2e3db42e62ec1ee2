"""What the store holds and how it is doing, read from the catalogue with as little work as can be."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apm_store.api import SchemaError, StoreClosedError, StoreError
from apm_store.model import Signal
from apm_store.query import PruneEntry, StoreHealth, StoreNotice, StoreStats
from apm_store.sqlite.body_log import LogReader
from apm_store.sqlite.connections import connect_reader
from apm_store.sqlite.migrations import CATALOGUE, SEGMENT
from apm_store.sqlite.segments import (
    CATALOGUE_NAME,
    SegmentFiles,
    directory_bytes,
    segment_directories,
    segment_ids,
    size_of,
)
from apm_store.sqlite.wal import wal_bytes

if TYPE_CHECKING:
    from apm_store.sqlite.writer import Writer

_RATE_S = 10  # spans per second are counted over so long
_MAX_LISTED = 100


class Condition:
    """Answers for one data directory; safe from many threads."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        path = data_dir / CATALOGUE_NAME
        self._path = path
        if not path.exists():
            raise StoreError(
                f"There is no database at {path}; start `spanwise up` first, or name another data directory."
            )
        try:
            self._identity = path.stat().st_ino
            self._catalogue = connect_reader(path, CATALOGUE)
        except sqlite3.Error as error:
            raise SchemaError(f"{path} cannot be opened as a Spanwise database: {error}.") from error
        self._newest: tuple[tuple[int, int], sqlite3.Connection] | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    def stats(self) -> StoreStats:
        """Counts, size and growth."""
        with self._lock:
            counts = {name: stored - pruned for name, stored, _, pruned in self._rows("SELECT * FROM counter")}
            ((version,),) = self._rows("SELECT version FROM applied")
            recent = self._recent_spans()
        return StoreStats(
            spans=counts[Signal.TRACES.value],
            log_records=counts[Signal.LOGS.value],
            data_points=counts[Signal.METRICS.value],
            bytes_on_disk=bytes_on_disk(self._data_dir),
            spans_per_second=recent / _RATE_S,
            version=version,
        )

    def health(self, writer: Writer | None) -> StoreHealth:
        """Counts that add up, lags and sizes; `writer` is that of this process, if there is one."""
        with self._lock:
            counters = self._rows("SELECT * FROM counter")
            ((segment_id, offset),) = self._rows("SELECT segment_id, offset FROM applied")
            ((segments,),) = self._rows("SELECT count(*) FROM segment")
            budget = self._rows("SELECT budget_bytes FROM retention")
            ((raw_since_ns,),) = self._rows(RAW_SINCE)
            prunes = [PruneEntry(*row[1:]) for row in self._rows(_NEWEST.format("prune"), _MAX_LISTED)]
            notices = [StoreNotice(*row[1:]) for row in self._rows(_NEWEST.format("notice"), _MAX_LISTED)]
        stored = {name: stored for name, stored, _, _ in counters}
        duplicates = {name: duplicates for name, _, duplicates, _ in counters}
        waiting, lag_s = _waiting(self._data_dir, segment_id, offset)
        commit_p50_ms, commit_p99_ms = writer.commit_ms() if writer is not None else (0.0, 0.0)
        return StoreHealth(
            accepted={name: stored[name] + duplicates[name] + waiting[name] for name in stored},
            stored=stored,
            duplicates=duplicates,
            waiting=waiting,
            queue_bytes=writer.queue_bytes if writer is not None else 0,
            index_lag_s=lag_s,
            commit_p50_ms=commit_p50_ms,
            commit_p99_ms=commit_p99_ms,
            bytes_on_disk=bytes_on_disk(self._data_dir),
            budget_bytes=budget[0][0] if budget else 0,
            disk_free_bytes=shutil.disk_usage(self._data_dir).free,
            wal_bytes=wal_bytes(self._path)
            + sum(wal_bytes(one / "index.db") for one in segment_directories(self._data_dir)),
            segments=segments,
            raw_since_ns=raw_since_ns,
            prunes=tuple(prunes),
            notices=tuple(notices),
        )

    def close(self) -> None:
        """Let go of the files; further calls do nothing."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._catalogue.close()
                if self._newest is not None:
                    self._newest[1].close()

    def _rows(self, sql: str, *values: object) -> list[Any]:
        if self._is_closed:
            raise StoreClosedError
        try:
            self._follow()
            return self._catalogue.execute(sql, values).fetchall()
        except FileNotFoundError:
            raise StoreError(f"The store's file {self._path} is gone.") from None
        except sqlite3.Error as error:
            raise StoreError(f"The store's counters could not be read: {error}.") from error

    def _follow(self) -> None:
        """Open the catalogue anew when it was built anew, which makes it another file."""
        identity = self._path.stat().st_ino
        if identity != self._identity:
            opened = connect_reader(self._path, CATALOGUE)
            self._catalogue.close()
            self._catalogue, self._identity = opened, identity

    def _recent_spans(self) -> int:
        """How many spans came in lately, by the newest bodies of the newest segment."""
        connection = self._newest_segment()
        if connection is None:
            return 0
        since_ns = time.time_ns() - _RATE_S * 1_000_000_000
        total = 0
        newest = "SELECT signal, received_ns, item_count FROM body ORDER BY seq DESC"
        try:
            for signal, received_ns, item_count in connection.execute(newest):
                if received_ns < since_ns:
                    break
                total += item_count if signal == Signal.TRACES.value else 0
        except sqlite3.Error as error:
            raise StoreError(f"The store's counters could not be read: {error}.") from error
        return total

    def _newest_segment(self) -> sqlite3.Connection | None:
        ((newest,),) = self._rows("SELECT coalesce(max(id), 0) FROM segment WHERE is_kept = 0")
        files = SegmentFiles(self._data_dir, newest)
        key = (newest, files.index.stat().st_ino if files.index.exists() else 0)
        if self._newest is not None and self._newest[0] != key:
            self._newest[1].close()
            self._newest = None
        if self._newest is None and files.index.exists():
            try:
                self._newest = (key, connect_reader(files.index, SEGMENT))
            except (sqlite3.Error, SchemaError):  # it is being made at this very moment
                return None
        return self._newest[1] if self._newest is not None else None


RAW_SINCE = "SELECT max(min(last_ns, time_ns)) + 1 FROM prune"
"""The time before which raw data may have been removed, null when none was.

Times that were in the future when they were removed say nothing of what came later.
"""

_NEWEST = "SELECT * FROM {} ORDER BY id DESC LIMIT ?"


def bytes_on_disk(data_dir: Path) -> int:
    """The size of the store's files."""
    if not (data_dir / CATALOGUE_NAME).exists():
        raise StoreError(f"The store's file {data_dir / CATALOGUE_NAME} is gone.")
    catalogue = (data_dir / f"{CATALOGUE_NAME}{suffix}" for suffix in ("", "-wal", "-shm"))
    return sum(map(size_of, catalogue)) + sum(map(directory_bytes, segment_directories(data_dir)))


def _waiting(data_dir: Path, segment_id: int, offset: int) -> tuple[dict[str, int], float]:
    """How many items of each signal lie in the logs behind a place, and how many seconds the oldest has waited."""
    waiting = dict.fromkeys((signal.value for signal in Signal), 0)
    oldest_ns = 0
    for behind in (one for one in segment_ids(data_dir) if one >= segment_id):
        try:
            log = LogReader(SegmentFiles(data_dir, behind).log)
        except FileNotFoundError:  # removed in between, or being made
            continue
        for frame in log.headers(offset if behind == segment_id else 0):
            waiting[frame.signal.value] += frame.item_count
            oldest_ns = oldest_ns or frame.received_ns
        log.close()
    return waiting, max(0.0, (time.time_ns() - oldest_ns) / 1e9) if oldest_ns else 0.0
