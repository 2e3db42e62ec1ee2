"""Opens a telemetry file as a stream of plain bytes: gzip and Zstandard are told by their first bytes and inflated."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from typing import IO, BinaryIO, cast

from apm_collector.file_formats.contents import FileFormatError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_GZIP_MAGIC = b"\x1f\x8b"
_BUFFER_BYTES = 64 * 1024
_MAX_RATIO = 500  # telemetry shrinks to a 10th, a repetitive file to a 200th; what unfolds further is made to harm
_FREE_BYTES = 64 * 1024 * 1024  # that much may come out of any file


def open_unpacked(file: BinaryIO) -> io.BufferedReader:
    """A stream of what a file holds, inflated if need be; it reads as it goes and keeps 64 KiB in memory.

    Reading raises FileFormatError when the packed data is damaged, or unfolds to more than 500 times its size.
    """
    packed = _Counted(file)
    plain: io.BufferedReader = io.BufferedReader(packed, _BUFFER_BYTES)
    head = plain.peek(4)
    if head.startswith(_GZIP_MAGIC):
        return io.BufferedReader(_Inflated(cast("IO[bytes]", gzip.GzipFile(fileobj=plain)), packed), _BUFFER_BYTES)
    if head.startswith(ZSTD_MAGIC):
        return io.BufferedReader(_Inflated(cast("IO[bytes]", zstd.ZstdFile(plain)), packed), _BUFFER_BYTES)
    return plain


class _Counted(io.RawIOBase):
    """A file that counts what was read of it, and fills the buffer even where a pipe gives less at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


class _Inflated(io.RawIOBase):
    """What a decompressor gives, with its faults in our words and its output bounded by its input."""

    def __init__(self, inflated: IO[bytes], packed: _Counted) -> None:
        self._inflated, self._packed = inflated, packed
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._inflated.read(len(buffer))
        except EOFError as error:
            raise FileFormatError("the compressed file ends too early") from error
        except (gzip.BadGzipFile, zlib.error, zstd.ZstdError) as error:
            raise FileFormatError(f"the compressed file is damaged: {error}") from error
        buffer[: len(data)] = data
        self._count += len(data)
        if self._count > _FREE_BYTES and self._count > _MAX_RATIO * self._packed.count:
            raise FileFormatError(f"the file unfolds to more than {_MAX_RATIO} times its size; unpack it yourself")
        return len(data)
