"""Keeps the store within its bounds: drops whole segments, the oldest first, and roll-ups that have outlived their use.

The work is done by the indexer's thread between two batches, in steps of a few hundredths of a second.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from apm_store.api import StoreError, StoreFullError
from apm_store.query import PruneEntry, Retention
from apm_store.sqlite.catalogue import Catalogue
from apm_store.sqlite.condition import bytes_on_disk
from apm_store.sqlite.disk_guard import DiskGuard
from apm_store.sqlite.kept_traces import KeptSegment, keep_notable, next_kept, relist_kept
from apm_store.sqlite.recovery import set_aside_directory
from apm_store.sqlite.rollup_retention import drop_rollups
from apm_store.sqlite.segments import CATALOGUE_NAME, SegmentFiles, directory_bytes, dropped, mark_dropped
from apm_store.sqlite.steady_clock import SteadyClock
from apm_store.sqlite.stream_retention import forget_streams

CHECK_S = 10.0
"""How often the bounds are looked at."""

MAX_BUDGET_BYTES = 5_000_000_000
_STEP_S = 0.05
_NOTICE_S = 3_600.0
_KEPT_SHARE = 10  # a tenth of the budget, and of each segment
_KEPT_SEGMENTS = 4
_SEGMENTS = "SELECT id, spans, log_records, data_points, first_ns, last_ns, last_received_ns FROM segment "
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """What the catalogue says of a segment."""

    segment_id: int
    spans: int
    log_records: int
    data_points: int
    first_ns: int | None
    last_ns: int | None
    last_received_ns: int | None


@dataclass(slots=True)
class PruneRequest:
    """What somebody asked to have removed: all that was received before a time, or until the store fits."""

    before_ns: int | None = None
    to_bytes: int | None = None
    done: Future[PruneEntry | None] = field(default_factory=Future)
    entries: list[PruneEntry] = field(default_factory=list)


class Host(Protocol):
    """Who owns the catalogue and the segments that are written."""

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue."""
        ...

    def first_undone(self) -> int:
        """The first segment that may not be dropped, because something is still to be written or indexed."""
        ...

    def flush(self) -> None:
        """Commit what is indexed, so that no transaction is open."""
        ...

    def let_go_of(self, segment_id: int) -> None:
        """Finish and close a segment, if it is open."""
        ...

    def check_files(self) -> None:
        """Raise OSError when a database that is open was removed or replaced."""
        ...

    def shrink_wal(self) -> None:
        """Empty the write-ahead logs, if nobody reads from them."""
        ...


class Upkeep:
    """Does for one data directory, in small steps, what keeps it within its bounds."""

    def __init__(self, data_dir: Path, retention: Retention, guard: DiskGuard) -> None:
        self.budget_bytes = retention.budget_bytes or default_budget(data_dir, guard)
        self.is_segment_wanted = False
        """Whether only the segment that is being written is left to drop."""
        self._data_dir = data_dir
        self._max_age_s = retention.max_age_s
        self._guard = guard
        self._clock = SteadyClock()
        self._due_s = time.monotonic() + CHECK_S
        self._task: Generator[None, None, None] | None = None
        self._has_lost_points = True  # what the process before dropped may not have been followed up
        self._told: dict[str, float] = {}  # until when each state need not be told again
        self._requests: list[PruneRequest] = []
        self._lock = threading.Lock()

    @property
    def retention(self) -> Retention:
        """What bounds the store, the budget in bytes."""
        return Retention(self.budget_bytes, self._max_age_s)

    @property
    def is_asked(self) -> bool:
        """Whether somebody waits for something to be removed."""
        return bool(self._requests) or not self._due_s

    def ask(self, request: PruneRequest) -> None:
        """Have a request done soon; its `done` gets the result."""
        with self._lock:
            self._requests.append(request)

    def hurry(self) -> None:
        """Look at the bounds at once: the disk is full."""
        self._due_s = 0.0

    def wait_s(self) -> float:
        """How long it is until there is something to do."""
        is_busy = self._task is not None or self._requests
        return 0.0 if is_busy else max(0.0, self._due_s - time.monotonic())

    def work(self, host: Host) -> None:
        """Do what is due, for a few hundredths of a second."""
        if self.wait_s() > 0:
            return
        if self._task is None:
            self._task = self._work(host)
        until_s = time.monotonic() + _STEP_S
        for _ in self._task:
            if time.monotonic() >= until_s:
                return
        self._task = None

    def start_over(self) -> None:
        """Forget what was under way, because the databases are opened again."""
        if self._task is not None:
            self._task.close()
            self._task = None

    def take_up(self, catalogue: Catalogue) -> None:
        """Finish what was broken off, before anything is under way: segments half dropped, kept ones not listed."""
        catalogue.set_budget(self.budget_bytes)
        listed = {row.segment_id: row for row in _rows(catalogue, "")}
        for segment_id, reason, directory in dropped(self._data_dir):
            if segment_id in listed:
                self._forget(catalogue, listed.pop(segment_id), reason, directory_bytes(directory), 0)
            shutil.rmtree(directory)
        for row in listed.values():
            files = SegmentFiles(self._data_dir, row.segment_id)
            if not files.log.exists():
                self._forget(catalogue, row, "request", 0, 0)
                set_aside_directory(files.directory)
                catalogue.notice("warn", f"The stored requests in {files.directory} were removed by somebody else.")
        relist_kept(self._data_dir, catalogue)

    def cancel(self) -> None:
        """Tell those who wait that nothing more is done."""
        self.start_over()
        with self._lock:
            requests, self._requests = self._requests, []
        for request in requests:
            request.done.set_exception(StoreError("The store was closed before anything could be removed."))

    def _work(self, host: Host) -> Generator[None, None, None]:
        with self._lock:
            requests, self._requests = self._requests, []
        for request in requests:
            yield from self._fulfil(host, request)
        if time.monotonic() >= self._due_s:
            yield from self._check(host)
            self._due_s = time.monotonic() + CHECK_S
        if self._has_lost_points:
            yield from forget_streams(host.catalogue, self._data_dir, host.flush)
            self._has_lost_points = False

    def _fulfil(self, host: Host, request: PruneRequest) -> Generator[None, None, None]:
        try:
            while (row := self._asked(host, request)) is not None:
                request.entries.append((yield from self._drop(host, row, "request", is_kept=False)))
        except (StoreError, sqlite3.Error, OSError) as error:
            request.done.set_exception(StoreError(f"The raw data could not be removed: {error}."))
            raise
        finally:
            if not request.done.done():
                request.done.set_result(_summed_up(request.entries))

    def _asked(self, host: Host, request: PruneRequest) -> SegmentRow | None:
        """The next segment to drop for a request."""
        rows = _rows(host.catalogue, "WHERE id < ?", host.first_undone())
        if request.before_ns is not None:
            old = (row for row in rows if row.last_received_ns is not None and row.last_received_ns < request.before_ns)
            return next(old, None)
        assert request.to_bytes is not None
        if bytes_on_disk(self._data_dir) > request.to_bytes:
            host.shrink_wal()
        rows.sort(key=lambda row: row.segment_id <= 0)  # kept traces go last
        return rows[0] if rows and bytes_on_disk(self._data_dir) > request.to_bytes else None

    def _check(self, host: Host) -> Generator[None, None, None]:
        host.check_files()
        with suppress(StoreFullError):
            self._guard.check()
        self._tell(host)
        self._guard.renew_reserve()
        if bytes_on_disk(self._data_dir) > self.budget_bytes:
            host.shrink_wal()
        while (due := self._due(host)) is not None:
            row, reason = due
            is_kept = reason != "disk" and row.segment_id > 0
            yield from self._drop(host, row, reason, is_kept=is_kept)
        for _ in drop_rollups(host.catalogue, self._clock.now_ns()):
            yield
        self._guard.renew_reserve()

    def _due(self, host: Host) -> tuple[SegmentRow, str] | None:
        """The next segment to drop, and why; kept traces go last, or when they are more than their share."""
        held = bytes_on_disk(self._data_dir)
        kept = _rows(host.catalogue, "WHERE id < 0", descending=True)
        rows = _rows(host.catalogue, "WHERE id > 0 AND id < ?", host.first_undone())
        kept_bytes = sum(directory_bytes(SegmentFiles(self._data_dir, row.segment_id).directory) for row in kept)
        if kept_bytes * _KEPT_SHARE > self.budget_bytes:
            return kept[0], "size"
        reason = "disk" if self._guard.is_low() else "size" if held > self.budget_bytes else None
        self.is_segment_wanted = reason is not None and not rows
        if reason is not None and (rows or kept):
            return (rows or kept)[0], reason
        if rows and self._is_too_old(rows[0]):
            return rows[0], "age"
        return None

    def _is_too_old(self, row: SegmentRow) -> bool:
        if self._max_age_s is None or row.last_received_ns is None or not self._clock.is_settled():
            return False
        return row.last_received_ns < self._clock.now_ns() - int(self._max_age_s * 1e9)

    def _drop(self, host: Host, row: SegmentRow, reason: str, *, is_kept: bool) -> Generator[None, None, PruneEntry]:
        files = SegmentFiles(self._data_dir, row.segment_id)
        host.let_go_of(row.segment_id)
        kept_traces = (yield from self._keep(host, files)) if is_kept and row.spans else 0
        host.flush()
        freed_bytes = directory_bytes(files.directory)
        directory = mark_dropped(files, reason)
        entry = self._forget(host.catalogue, row, reason, freed_bytes, kept_traces)
        self._has_lost_points |= row.data_points > 0
        shutil.rmtree(directory)
        _log.info("Raw data was removed (%s): %s.", reason, entry)
        yield
        return entry

    def _keep(self, host: Host, files: SegmentFiles) -> Generator[None, None, int]:
        """Copy notable traces into the kept segment, and tell how many.

        A segment that cannot be read, or a disk that is full, does not keep the store from dropping it.
        """
        limit = self.budget_bytes // _KEPT_SHARE
        try:
            host.catalogue.begin()
            kept = KeptSegment(self._data_dir, next_kept(self._data_dir, limit // 8), host.catalogue.names)
            try:
                before = kept.trace_count()
                most = min(limit // _KEPT_SEGMENTS, files.log.stat().st_size // _KEPT_SHARE)
                yield from keep_notable(files, kept, most)
                host.flush()
                host.catalogue.set_kept(kept.segment_id, *kept.totals())
                return kept.trace_count() - before
            finally:
                kept.close()
        except (StoreError, sqlite3.Error, OSError) as error:
            _log.warning("The notable traces in %s could not be kept: %s.", files.directory, error)
            return 0

    def _forget(
        self, catalogue: Catalogue, row: SegmentRow, reason: str, freed_bytes: int, kept_traces: int
    ) -> PruneEntry:
        """Strike a segment from the catalogue, and note its removal there."""
        now_ns = time.time_ns()
        times = (row.first_ns or now_ns, row.last_ns or now_ns)
        counts = (row.spans, row.log_records, row.data_points)
        entry = PruneEntry(now_ns, reason, *times, *counts, freed_bytes, kept_traces)
        return catalogue.forget_segment(row.segment_id, entry)

    def _tell(self, host: Host) -> None:
        """Say that the disk is full, or nearly; at most once an hour."""
        is_full, is_low = self._guard.is_full, self._guard.is_low()
        free = f"{self._guard.free_bytes() / 1e6:,.0f} MB"
        notices = (
            (is_full, "critical", "The disk is full: new data is refused until there is space again."),
            (is_low and not is_full, "warn", f"The disk has only {free} left: the oldest raw data is being removed."),
        )
        for is_so, state, text in notices:
            if is_so and time.monotonic() >= self._told.get(state, 0.0):
                host.flush()
                host.catalogue.notice(state, text)
                self._told[state] = time.monotonic() + _NOTICE_S


def default_budget(data_dir: Path, guard: DiskGuard) -> int:
    """How many bytes a store may take when nobody says: a tenth of what the disk has for it, at most 5 GB."""
    held = bytes_on_disk(data_dir) if (data_dir / CATALOGUE_NAME).exists() else 0
    return min(MAX_BUDGET_BYTES, (guard.free_bytes() + held) // 10)


def _rows(catalogue: Catalogue, condition: str, *values: object, descending: bool = False) -> list[SegmentRow]:
    order = "DESC" if descending else "ASC"
    return [SegmentRow(*row) for row in catalogue.rows(f"{_SEGMENTS} {condition} ORDER BY id {order}", values)]  # type: ignore[arg-type]


def _summed_up(entries: list[PruneEntry]) -> PruneEntry | None:
    """Several removals as one; None when there was none."""
    if not entries:
        return None
    return PruneEntry(
        time_ns=entries[-1].time_ns,
        reason=entries[-1].reason,
        first_ns=min(entry.first_ns for entry in entries),
        last_ns=max(entry.last_ns for entry in entries),
        spans=sum(entry.spans for entry in entries),
        log_records=sum(entry.log_records for entry in entries),
        data_points=sum(entry.data_points for entry in entries),
        freed_bytes=sum(entry.freed_bytes for entry in entries),
        kept_traces=sum(entry.kept_traces for entry in entries),
    )
