"""Which attribute values a block can contain: a Bloom filter over its tokens.

Every attribute of a span is one token, cut out of the request's bytes without decoding them.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator
from typing import Any

_ATTRIBUTE = b"J"  # the tag of Span.attributes: field 9, length-delimited
_BITS_PER_TOKEN = 12  # three probes: 1.1 % false positives at most
_THREE_PROBES = b"\3"  # stands behind the bits; filters without it were built with two
_MIN_BITS = 1024
_FACTOR = 0x9E3779B1


def tokens_of(content: bytes) -> set[bytes]:
    """The tokens of all span attributes in a trace request that is canonically serialised.

    An attribute's bytes follow the tag "J" and begin with their length. Cutting at every "J" gives all of them, some
    shortened by a "J" within, and a few pieces of other fields, which do no harm.
    """
    return set(tokens_in(set(content.split(_ATTRIBUTE))))


def tokens_in(pieces: Iterable[bytes]) -> list[bytes]:
    """The tokens among the pieces of a request."""
    return [piece[: piece[0] + 1] for piece in pieces if piece]


def token_of(attribute: bytes) -> bytes:
    """The token under which `tokens_of` lists an attribute that is serialised as a KeyValue; b"" when it has none."""
    piece = (_varint(len(attribute)) + attribute).split(_ATTRIBUTE)[0]
    return piece[: piece[0] + 1] if piece else b""


def canonical(request: Any, body: bytes) -> bytes:
    """The body, or the request serialised anew if its sender wrote the fields in another form or order.

    A sender writes all spans alike, so one span of each resource tells, best one with attributes.
    """
    for group in request.resource_spans:
        span = None
        for span in (span for scope in group.scope_spans for span in scope.spans):
            if span.attributes:
                break
        if span is not None and span.SerializeToString() not in body:
            return bytes(request.SerializeToString())
    return body


def build_filter(tokens: Collection[bytes]) -> bytes:
    """The filter of a block with these tokens: a power of two of bits, and a byte behind them."""
    bits = max(_MIN_BITS, 1 << (len(tokens) * _BITS_PER_TOKEN - 1).bit_length())
    mask = bits - 1
    digits = bytearray(b"0") * bits  # as text, which is read as one number: cheaper than setting bits one by one
    low = mask << 7 | 0x7F  # what the second place depends on; products of small numbers are cheaper
    factor = _FACTOR & low
    for checksum in map(zlib.crc32, tokens):
        digits[checksum & mask] = 49
        digits[(checksum & low) * factor >> 7 & mask] = 49
        digits[(checksum ^ checksum >> 15) & mask] = 49
    digits.reverse()
    return int(digits, 2).to_bytes(bits // 8, "little") + _THREE_PROBES


def may_contain(built: bytes, token: bytes) -> bool:
    """Whether a block with this filter can have a token; an empty token is in every block."""
    return not token or all(built[place >> 3] >> (place & 7) & 1 for place in _places(token, built))


def _places(token: bytes, built: bytes) -> Iterator[int]:
    checksum = zlib.crc32(token)
    mask = (len(built) & ~1) * 8 - 1
    yield checksum & mask
    yield checksum * _FACTOR >> 7 & mask
    if len(built) & 1:
        yield (checksum ^ checksum >> 15) & mask


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
