"""A durable scratch of records in segment files: appended and synced, released one by one, replayed after a crash."""

from __future__ import annotations

import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import BinaryIO

_HEADER = struct.Struct(">II")  # length and CRC-32 of a record
_SEGMENT_BYTES = 8 * 1024 * 1024


@dataclass(slots=True, eq=False)
class Segment:
    """One file; `held` counts the records that are not released, and the file goes when there are none."""

    path: Path
    file: FileIO
    size: int = 0
    synced: int = 0
    held: int = 0
    is_full: bool = False
    sync_lock: threading.Lock = field(default_factory=threading.Lock)


class Spool:
    """Records in a directory of its own. All methods are safe from many threads and raise OSError."""

    def __init__(self, directory: Path) -> None:
        """Use a directory, which is made when it is missing; what an earlier process left there can be replayed."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory = directory
        self._lock = threading.Lock()
        self._current: Segment | None = None
        self._segments: dict[Path, Segment] = {}  # that are not done with

    def append(self, records: Sequence[bytes]) -> Segment:
        """Write records, which are durable once `sync` was called with the segment that this gives."""
        data = b"".join(_HEADER.pack(len(record), zlib.crc32(record)) + record for record in records)
        with self._lock:
            segment = self._current
            if segment is None or segment.is_full:
                segment = self._current = self._new_segment()
            try:
                segment.file.write(data)
            except OSError:
                segment.is_full = True  # a torn record may only be the last one of a file
                raise
            segment.size += len(data)
            segment.is_full = segment.size >= _SEGMENT_BYTES
            segment.held += len(records)
            return segment

    def sync(self, segment: Segment) -> None:
        """Make all records of a segment durable that were appended before; concurrent calls share one fsync."""
        size = segment.size
        with segment.sync_lock:
            if segment.synced < size and not segment.file.closed:
                size = segment.size
                os.fsync(segment.file.fileno())
                segment.synced = size

    def release(self, segment: Segment) -> None:
        """Say that one record of a segment is not needed any more."""
        with self._lock:
            segment.held -= 1
            is_done = segment.held == 0
            if is_done:
                segment.is_full = True  # the next record begins another one
                self._segments.pop(segment.path, None)
        if is_done:
            with segment.sync_lock:
                segment.file.close()
            segment.path.unlink(missing_ok=True)

    def replay(self) -> Iterator[bytes]:
        """The records that earlier processes left, oldest first; a file goes once all of its records were taken."""
        for path in sorted(self.directory.glob("*.spool")):
            if path not in self._segments:
                with path.open("rb") as file:
                    yield from _records(file)
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files; what is not released stays for a later process."""
        with self._lock:
            segments, self._segments, self._current = list(self._segments.values()), {}, None
        for segment in segments:
            with segment.sync_lock:
                segment.file.close()

    def _new_segment(self) -> Segment:
        path = self.directory / f"{time.time_ns():020d}.spool"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        segment = self._segments[path] = Segment(path, FileIO(descriptor, "wb"))
        directory = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(directory)  # the file's name must be durable as well
        finally:
            os.close(directory)
        return segment


def _records(file: BinaryIO) -> Iterator[bytes]:
    """The records of a file up to its end or to the first torn one."""
    while len(header := file.read(_HEADER.size)) == _HEADER.size:
        length, checksum = _HEADER.unpack(header)
        record = file.read(length)
        if len(record) < length or zlib.crc32(record) != checksum:
            return
        yield record
