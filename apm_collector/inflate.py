"""Bounded gunzip."""

from __future__ import annotations

import zlib

from apm_collector.errors import PermanentError, TooLargeError

_GZIP = 31  # zlib's window bits for "a gzip header and trailer, nothing else"
_MAX_MEMBERS = 100  # each further member copies the rest of the body


def inflate(body: bytes, max_bytes: int) -> bytes:
    """Decompress a gzip body of one or more members.

    Raises TooLargeError as soon as more than `max_bytes` come out, PermanentError when the body is not whole gzip.
    """
    parts: list[bytes] = []
    left = max_bytes
    for _ in range(_MAX_MEMBERS):
        member = zlib.decompressobj(wbits=_GZIP)
        try:
            part = member.decompress(body, left + 1)
        except zlib.error as error:
            raise PermanentError(f"gzip: {_CAUSES.get(str(error).rpartition(': ')[2], 'invalid data')}") from error
        left -= len(part)
        if left < 0:
            raise TooLargeError(f"the body is larger than {max_bytes:,} bytes after decompression")
        if not member.eof:
            raise PermanentError("gzip: the body ends too early")
        parts.append(part)
        body = member.unused_data
        if not body:
            return parts[0] if len(parts) == 1 else b"".join(parts)
    raise PermanentError(f"gzip: more than {_MAX_MEMBERS} members")


_CAUSES = {"incorrect header check": "invalid header", "incorrect data check": "wrong checksum"}
