"""A bounded first-in, first-out queue of OTLP requests on disk, which outlives its process.

Records lie one after another in numbered segment files, and a cursor file says up to where they are done with.
A segment is only appended to by the process that made it, so what a killed process left half written ends a file.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import struct
import sys
import threading
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from apm_store.model import Signal

_HEADER = struct.Struct(">BIIII")  # signal, items, bytes of body, CRC-32 of body, CRC-32 of the four before
_CURSOR = struct.Struct(">QQI")  # number of segment, offset in it, CRC-32 of both
_SEGMENTS = 16  # into which the space is divided: a full queue loses its oldest sixteenth
_MAX_SEGMENT_BYTES = 16 * 1024 * 1024
_SIGNALS = tuple(Signal)
_log = logging.getLogger(__name__)

OnDrop = Callable[[Signal, str, int], None]
"""Is told of items that left the queue undelivered: their signal, why (`queue_full`, `corrupt`), how many."""


class QueueFullError(Exception):
    """The queue has no room for the request."""


@dataclass(frozen=True, slots=True)
class Record:
    """One queued request: its serialised body, and where it lies."""

    signal: Signal
    item_count: int
    body: bytes
    segment: int
    end: int


@dataclass(slots=True)
class _Segment:
    number: int
    path: Path
    size: int


class DiskQueue:
    """Holds records until they are removed; `append` is safe from many threads, taking out is one thread's.

    What `append` took survives the end of the process, `kill -9` included. `is_only_copy` says that nobody else keeps
    the records: then `append` returns only when they also survive a power cut, and a full queue takes nothing more;
    otherwise it drops its oldest records. After a power cut records may be handed out again.
    """

    def __init__(self, directory: Path, max_bytes: int, on_drop: OnDrop, *, is_only_copy: bool = False) -> None:
        """Open or make the directory; raises OSError when that fails."""
        for path in (directory.parent, directory):
            path.mkdir(mode=0o700, exist_ok=True)
        self.max_bytes = max_bytes
        self.is_only_copy = is_only_copy
        self._directory = directory
        self._on_drop = on_drop
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._sync_lock = threading.Lock()
        self._appended = self._synced = self._lost_to = 0
        self._lost_from = sys.maxsize  # records of which a sync failed are those after this one, up to `_lost_to`
        self._is_ended = self._is_closed = False
        self._tail_fd = -1
        self._in_hand: Record | None = None
        self._segments = deque(_existing_segments(directory))
        self._cursor_fd = os.open(directory / "cursor", os.O_RDWR | os.O_CREAT, 0o600)
        self._next_number = self._segments[-1].number + 1 if self._segments else 1
        self._offset = self._read_cursor()
        self._waiting: Counter[Signal] = Counter()
        for index, segment in enumerate(self._segments):
            self._waiting.update(_items(segment, 0 if index else self._offset))

    def append(self, signal: Signal, body: bytes, item_count: int) -> None:
        """Queue a request. Raises QueueFullError when there is no room for it, OSError when the disk refuses it."""
        numbers = (_SIGNALS.index(signal), item_count, len(body), zlib.crc32(body))
        record = _HEADER.pack(*numbers, _header_crc(*numbers)) + body
        with self._lock:
            if self._is_ended:
                raise QueueFullError("the queue is closed")
            self._make_room(len(record))
            self._write(record)
            self._waiting[signal] += item_count
            self._appended += 1
            ticket = self._appended
            self._arrived.notify()
        if self.is_only_copy:
            self._sync(ticket)

    def oldest(self, timeout_s: float) -> Record | None:
        """The oldest record, which stays queued until `remove`; None when there was none for a time, or at the end."""
        with self._lock:
            if (record := self._read()) is None and not self._is_ended:
                self._arrived.wait(timeout_s)
                record = self._read()
            self._in_hand = record
            return record

    def holds(self, record: Record) -> bool:
        """Whether a record that `oldest` gave is still queued: a full queue may have dropped it meanwhile."""
        with self._lock:
            return self._holds(record)

    def remove(self, record: Record) -> None:
        """Be done with a record that `oldest` gave."""
        with self._lock:
            self._in_hand = None
            if self._holds(record) and not self._is_closed:
                self._offset = record.end
                self._waiting[record.signal] -= record.item_count
                self._write_cursor()

    def waiting(self) -> dict[Signal, int]:
        """How many items of each signal are queued."""
        with self._lock:
            return {signal: items for signal, items in self._waiting.items() if items}

    def size_bytes(self) -> int:
        """How much disk the records take."""
        with self._lock:
            return self._size_bytes()

    def end(self) -> None:
        """Take and give nothing more: whoever waits for a record gets None. What is in hand can still be removed."""
        with self._lock:
            self._is_ended = True
            self._arrived.notify_all()

    def close(self) -> None:
        """End, and let go of the files. Idempotent."""
        self.end()
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._close_tail()
                os.close(self._cursor_fd)

    def _size_bytes(self) -> int:
        return sum(segment.size for segment in self._segments)

    def _holds(self, record: Record) -> bool:
        return bool(self._segments) and self._segments[0].number == record.segment

    def _make_room(self, size: int) -> None:
        if size > self.max_bytes:
            raise QueueFullError(f"a request of {size:,} bytes is larger than the whole queue")
        while self._size_bytes() + size > self.max_bytes:
            self._pass_finished_segment()
            if self._size_bytes() + size <= self.max_bytes:
                break
            if self.is_only_copy:
                raise QueueFullError(f"the queue is full: {self._size_bytes():,} bytes wait to be delivered")
            self._drop_oldest_segment()

    def _drop_oldest_segment(self) -> None:
        dropped = _items(self._segments[0], self._offset)
        if self._in_hand is not None and self._holds(self._in_hand):  # whoever has it in hand tells what became of it
            dropped[self._in_hand.signal] -= self._in_hand.item_count
            self._waiting[self._in_hand.signal] -= self._in_hand.item_count
        for signal, items in dropped.items():
            self._waiting[signal] -= items
            if items:
                self._on_drop(signal, "queue_full", items)
        self._next_segment()

    def _pass_finished_segment(self) -> None:
        if self._segments and self._offset >= self._segments[0].size:
            self._next_segment()

    def _next_segment(self) -> None:
        """Delete the oldest segment, whatever is in it."""
        if len(self._segments) == 1:
            self._close_tail()
        self._segments.popleft().path.unlink(missing_ok=True)
        self._offset = 0
        self._write_cursor()

    def _write(self, record: bytes) -> None:
        """Write a record whole or not at all."""
        segment_bytes = min(self.max_bytes // _SEGMENTS, _MAX_SEGMENT_BYTES)
        if self._tail_fd < 0 or self._segments[-1].size + len(record) > segment_bytes:
            self._open_tail()
        tail = self._segments[-1]
        written = os.write(self._tail_fd, record)
        if written < len(record):  # the disk is full, or the file may not grow
            os.ftruncate(self._tail_fd, tail.size)
            raise OSError(f"only {written} of {len(record)} bytes could be written")
        tail.size += written

    def _open_tail(self) -> None:
        path = self._directory / f"{self._next_number:016d}.segment"
        self._close_tail()
        self._tail_fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._segments.append(_Segment(self._next_number, path, 0))
        self._next_number += 1
        if self.is_only_copy:
            _sync_directory(self._directory)

    def _close_tail(self) -> None:
        fd, self._tail_fd = self._tail_fd, -1
        if fd < 0:
            return
        try:
            if self.is_only_copy:
                os.fdatasync(fd)
        except OSError:
            self._lose_unsynced()
            raise
        finally:
            os.close(fd)

    def _sync(self, ticket: int) -> None:
        """Return when the record with a number is on disk; records that wait together share one sync."""
        with self._sync_lock:
            with self._lock:
                if self._lost_from < ticket <= self._lost_to:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                if self._synced >= ticket:
                    return
                ticket = self._appended
                fd = os.dup(self._tail_fd) if self._tail_fd >= 0 else -1  # a closed tail was synced
            if fd < 0:
                return
            try:
                os.fdatasync(fd)
            except OSError:  # the kernel may have let go of what it could not write: nothing more goes to that file
                with self._lock:
                    self._lose_unsynced()
                    self._abandon_tail()
                raise
            finally:
                os.close(fd)
            self._synced = ticket

    def _lose_unsynced(self) -> None:
        self._lost_from = min(self._lost_from, self._synced)
        self._lost_to = self._appended

    def _abandon_tail(self) -> None:
        fd, self._tail_fd = self._tail_fd, -1
        if fd >= 0:
            os.close(fd)

    def _read(self) -> Record | None:
        """The record at the cursor, past whatever cannot be read; None when there is none."""
        while self._segments and not self._is_ended:
            head = self._segments[0]
            if self._offset < head.size:
                if (record := self._read_at(head)) is not None:
                    return record
            elif len(self._segments) > 1 or self._tail_fd < 0:
                self._next_segment()
            else:
                return None
        return None

    def _read_at(self, head: _Segment) -> Record | None:
        """The record at the cursor; None after moving the cursor past one that is damaged."""
        header, body = None, b""
        with contextlib.suppress(OSError), head.path.open("rb") as file:
            file.seek(self._offset)
            header = _read_header(file.read(_HEADER.size))
            body = file.read(header[2]) if header else b""
        if header is None:
            self._pass_unreadable_rest(head)
            return None
        signal, items, size, crc = header
        end = self._offset + _HEADER.size + size
        if zlib.crc32(body) == crc:
            return Record(signal, items, body, head.number, end)
        _log.warning("%s: the request at byte %d is damaged and is passed over", head.path, self._offset)
        self._offset = end
        self._waiting[signal] -= items
        self._on_drop(signal, "corrupt", items)
        return None

    def _pass_unreadable_rest(self, head: _Segment) -> None:
        """Move the cursor behind the oldest segment; what it held is what is missing in all others."""
        _log.warning("%s: what follows byte %d cannot be read and is passed over", head.path, self._offset)
        self._offset = head.size
        lost, self._waiting = self._waiting, Counter()
        for segment in list(self._segments)[1:]:
            self._waiting.update(_items(segment, 0))
        for signal, items in (lost - self._waiting).items():
            self._on_drop(signal, "corrupt", items)

    def _read_cursor(self) -> int:
        """The offset in the oldest segment; segments before the cursor's were done with and are deleted."""
        data = os.pread(self._cursor_fd, _CURSOR.size, 0)
        if len(data) < _CURSOR.size:
            return 0
        number, offset, crc = _CURSOR.unpack(data)
        if crc != zlib.crc32(data[:-4]):
            return 0
        while self._segments and self._segments[0].number < number:
            self._segments.popleft().path.unlink(missing_ok=True)
        self._next_number = max(self._next_number, number)
        return offset if self._segments and self._segments[0].number == number else 0

    def _write_cursor(self) -> None:
        number = self._segments[0].number if self._segments else self._next_number
        data = _CURSOR.pack(number, self._offset, 0)[:-4]
        os.pwrite(self._cursor_fd, data + zlib.crc32(data).to_bytes(4, "big"), 0)


def _existing_segments(directory: Path) -> Iterator[_Segment]:
    for path in sorted(directory.glob("*.segment")):
        with contextlib.suppress(ValueError):  # a file of this form that is not ours
            yield _Segment(int(path.stem), path, path.stat().st_size)


def _items(segment: _Segment, offset: int) -> Counter[Signal]:
    """How many items of each signal the records from an offset on hold, by their headers."""
    items: Counter[Signal] = Counter()
    with segment.path.open("rb") as file:
        while offset < segment.size:
            file.seek(offset)
            header = _read_header(file.read(_HEADER.size))
            if header is None:
                break
            offset += _HEADER.size + header[2]
            items[header[0]] += header[1]
    return items


def _read_header(data: bytes) -> tuple[Signal, int, int, int] | None:
    """Signal, items, size and CRC-32 of a body; None when this is no header."""
    if len(data) < _HEADER.size:
        return None
    signal, items, size, crc, own_crc = _HEADER.unpack(data)
    if own_crc != _header_crc(signal, items, size, crc) or signal >= len(_SIGNALS):
        return None
    return _SIGNALS[signal], items, size, crc


def _header_crc(*numbers: int) -> int:
    return zlib.crc32(_HEADER.pack(*numbers, 0))


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
