"""The log of a segment: OTLP requests, each in a frame with a checksum, appended and made durable together.

It is the truth of the store; everything else is an index over it and can be built anew from it.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from apm_store.api import StoreError, StoreFullError
from apm_store.model import Signal
from apm_store.sqlite.disk_guard import FULL

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_MAGIC = b"SWB1"
_HEADER = struct.Struct("<4sIIQIIBB2x")  # magic, checksum of what follows it, then the fields of Frame
_CHECKED_FROM = 8
_ZSTD = 1
_LEVEL = 1
_SIGNALS = (Signal.TRACES, Signal.METRICS, Signal.LOGS)
_MAX_BODY_BYTES = 256 * 1024 * 1024  # far above what a receiver takes; a greater length is a broken header
_SCAN_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a body lies in the log, and what its header says; `seq` counts up from 1 within the segment."""

    offset: int
    length: int
    seq: int
    received_ns: int
    item_count: int
    signal: Signal


def pack(body: bytes) -> bytes:
    """Compress a body for the log."""
    return zstd.compress(body, _LEVEL)


def encode_frame(seq: int, signal: Signal, received_ns: int, item_count: int, packed: bytes) -> bytes:
    """A body that `pack` compressed, as it stands in the log."""
    fields = (seq, received_ns, item_count, len(packed), _SIGNALS.index(signal), _ZSTD)
    header = _HEADER.pack(_MAGIC, 0, *fields)
    checksum = zlib.crc32(packed, zlib.crc32(header[_CHECKED_FROM:]))
    return b"".join((_HEADER.pack(_MAGIC, checksum, *fields), packed))


class BodyLog:
    """An open log that can be appended to; one per segment and process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.is_failed = False
        """Whether a write was lost on its way to the disk: the log must be opened anew, and looked through."""
        self.size = os.fstat(self._fd).st_size

    def append(self, frames: Sequence[bytes]) -> list[int]:
        """Append frames and return their offsets once all of them are durable.

        Raises StoreFullError when the disk is full, StoreError when it fails or when somebody removed the file; the
        log is then as it was before.
        """
        offsets = []
        end = self.size
        for frame in frames:
            offsets.append(end)
            end += len(frame)
        try:
            _write_all(self._fd, b"".join(frames), self.size)
            os.fdatasync(self._fd)
        except OSError as error:
            self.is_failed = error.errno not in FULL
            self._undo()
            if error.errno in FULL:
                raise StoreFullError from error
            raise StoreError(f"The disk did not take what was to be stored: {error.strerror}.") from error
        if self._is_gone():
            self._undo()
            raise StoreError(
                f"{self._path} was removed or replaced while Spanwise was writing to it; restart Spanwise."
            )
        self.size = end
        return offsets

    def truncate(self, size: int) -> None:
        """Cut off what follows the last whole frame."""
        os.ftruncate(self._fd, size)
        os.fsync(self._fd)
        self.size = size

    def close(self) -> None:
        """Close the file; further calls do nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _is_gone(self) -> bool:
        """Whether the path leads elsewhere, so that what was written cannot be found again."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        here = os.fstat(self._fd)
        return (there.st_ino, there.st_dev) != (here.st_ino, here.st_dev)

    def _undo(self) -> None:
        try:
            os.ftruncate(self._fd, self.size)
            os.fdatasync(self._fd)
        except OSError as error:
            self.is_failed = True
            raise StoreError(f"The log of the store can neither grow nor shrink: {error.strerror}.") from error


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


class LogReader:
    """Reads bodies of one log; safe from many threads."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._path = path

    def body(self, offset: int, length: int) -> bytes:
        """The body of the frame at an offset; raises StoreError when the frame is damaged."""
        data = os.pread(self._fd, length, offset)
        if len(data) != length or _frame_at(data, offset) is None:
            raise StoreError(f"The log {self._path} is damaged at byte {offset}; this request cannot be read.")
        return zstd.decompress(data[_HEADER.size :])

    def frames(self, offset: int = 0) -> Iterator[Frame | int]:
        """All whole frames from an offset on; in between, as an integer, how many bytes had to be skipped.

        What follows the last whole frame is not told of: see `end_of`.
        """
        while (header := os.pread(self._fd, _HEADER.size, offset)) and len(header) == _HEADER.size:
            length = _HEADER.size + _HEADER.unpack(header)[5]
            found = None
            if header.startswith(_MAGIC) and length <= _MAX_BODY_BYTES:
                found = _frame_at(os.pread(self._fd, length, offset), offset)
            if found is not None:
                yield found
                offset += found.length
                continue
            following = self._next_frame(offset + 1)
            if following is None:
                return
            yield following - offset
            offset = following

    def headers(self, offset: int) -> Iterator[Frame]:
        """The frames from an offset on by their headers alone, as far as these make sense; bodies are not read."""
        while len(header := os.pread(self._fd, _HEADER.size, offset)) == _HEADER.size:
            magic, _, seq, received_ns, item_count, stored, signal, _ = _HEADER.unpack(header)
            if magic != _MAGIC or signal >= len(_SIGNALS):
                return
            yield Frame(offset, _HEADER.size + stored, seq, received_ns, item_count, _SIGNALS[signal])
            offset += _HEADER.size + stored

    def goes_on_at(self, offset: int, seq: int) -> bool:
        """Whether a body with this number may have ended at an offset: the log ends there too, or the next follows."""
        following = next(self.headers(offset), None)
        if following is None:
            return os.fstat(self._fd).st_size == offset
        return following.seq == seq + 1

    def close(self) -> None:
        """Close the file; further calls do nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _next_frame(self, offset: int) -> int | None:
        """Where the next whole frame after a damaged place begins; None when there is none."""
        while chunk := os.pread(self._fd, _SCAN_BYTES, offset):
            at = chunk.find(_MAGIC)
            while at >= 0:
                header = os.pread(self._fd, _HEADER.size, offset + at)
                if len(header) == _HEADER.size:
                    length = min(_HEADER.size + _HEADER.unpack(header)[5], _MAX_BODY_BYTES)
                    if _frame_at(os.pread(self._fd, length, offset + at), offset + at) is not None:
                        return offset + at
                at = chunk.find(_MAGIC, at + 1)
            offset += max(1, len(chunk) - len(_MAGIC) + 1)
        return None


def _frame_at(data: bytes, offset: int) -> Frame | None:
    """The frame that `data` is; None when it is cut off or its checksum is wrong."""
    if len(data) < _HEADER.size:
        return None
    magic, checksum, seq, received_ns, item_count, stored, signal, codec = _HEADER.unpack_from(data)
    is_whole = magic == _MAGIC and len(data) == _HEADER.size + stored
    if not is_whole or zlib.crc32(memoryview(data)[_CHECKED_FROM:]) != checksum:
        return None
    if codec != _ZSTD or signal >= len(_SIGNALS):
        return None
    return Frame(offset, len(data), seq, received_ns, item_count, _SIGNALS[signal])
