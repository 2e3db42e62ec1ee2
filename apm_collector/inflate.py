"""Bounded gunzip."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from apm_collector.errors import PermanentError, TooLargeError

_GZIP = 31  # zlib's window bits for "a gzip header and trailer, nothing else"
_USUAL_RATIO = 8  # of telemetry
_MAX_MEMBERS = 100  # each further member copies the rest of the body


def inflate(body: bytes, max_bytes: int, hold: Callable[[int], None] = lambda _size: None) -> bytes:
    """Decompress a gzip body of one or more members.

    `hold` is called with the size in all before the output grows to it, at most about twice what comes out, and may
    raise. Raises TooLargeError as soon as more than `max_bytes` come out, PermanentError when the body is not whole
    gzip.
    """
    parts: list[bytes] = []
    size = 0
    for _ in range(_MAX_MEMBERS):
        member = zlib.decompressobj(wbits=_GZIP)
        while not member.eof:
            step = min(max(size, _USUAL_RATIO * len(body)), max_bytes - size) + 1  # doubles: each copies what is left
            hold(size + step)
            parts.append(_decompress(member, body, step))
            size += len(parts[-1])
            if size > max_bytes:
                raise TooLargeError(f"the body is larger than {max_bytes:,} bytes after decompression")
            body = member.unconsumed_tail
            if not body and not member.eof and len(parts[-1]) < step:
                raise PermanentError("gzip: the body ends too early")
        body = member.unused_data
        if not body:
            return parts[0] if len(parts) == 1 else b"".join(parts)
    raise PermanentError(f"gzip: more than {_MAX_MEMBERS} members")


def _decompress(member: zlib._Decompress, body: bytes, max_bytes: int) -> bytes:
    try:
        return member.decompress(body, max_bytes)
    except zlib.error as error:
        raise PermanentError(f"gzip: {_CAUSES.get(str(error).rpartition(': ')[2], 'invalid data')}") from error


_CAUSES = {"incorrect header check": "invalid header", "incorrect data check": "wrong checksum"}
