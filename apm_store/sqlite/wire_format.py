"""Walks serialised protobuf messages without decoding them, which is much faster where few parts are wanted."""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _LENGTH, _GROUP, _END_GROUP, _FIXED32 = range(6)


def submessages(content: bytes, start: int, end: int, field: int) -> Iterator[tuple[int, int]]:
    """Where the values of a message's field lie; the field holds messages, strings or bytes.

    `content[start:end]` is the message, which must be well-formed.
    """
    wanted = field << 3 | _LENGTH
    depth = 0
    while start < end:
        tag, start = _varint(content, start)
        kind = tag & 7
        if kind == _LENGTH:
            size, start = _varint(content, start)
            if tag == wanted and not depth:
                yield start, start + size
            start += size
        elif kind == _VARINT:
            _, start = _varint(content, start)
        elif kind in (_GROUP, _END_GROUP):
            depth += 1 if kind == _GROUP else -1
        else:
            start += 8 if kind == _FIXED64 else 4


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """The number that stands at a place, and the place behind it."""
    byte = content[at]
    at += 1
    number, shift = byte & 0x7F, 7
    while byte > 0x7F:
        byte = content[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
    return number, at
