"""Which attribute values a block can contain: a Bloom filter over its tokens.

Every attribute of a span is one token, cut out of the request's bytes without decoding them.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

_ATTRIBUTE = b"J"  # the tag of Span.attributes: field 9, length-delimited
_BITS_PER_TOKEN = 12  # three probes: 1.1 % false positives at most
_THREE_PROBES = b"\3"  # stands behind the bits; filters without it were built with two
_MIN_BITS = 1024
_FACTOR = 0x9E3779B1

_Probe = tuple[int, int]
"""A byte of a filter, and the bit in it that must be set."""


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


class TokenTest:
    """Tests filters, some thousand for one question, for tokens: a block must have one of each of these sets."""

    def __init__(self, wanted: Sequence[Sequence[bytes]]) -> None:
        self._wanted = [either for either in wanted if all(either)]  # an empty token is in every block
        self._probes: dict[int, list[list[list[_Probe]]]] = {}

    def passes(self, built: bytes) -> bool:
        """Whether a block with this filter can have what is wanted."""
        size = len(built)
        if size not in self._probes:
            self._probes[size] = [[list(_probes(token, size)) for token in either] for either in self._wanted]
        for either in self._probes[size]:
            for probes in either:
                for at, mask in probes:  # most fail at the first one
                    if not built[at] & mask:
                        break
                else:
                    break
            else:
                return False
        return True


def _probes(token: bytes, size: int) -> Iterator[_Probe]:
    checksum = zlib.crc32(token)
    mask = (size & ~1) * 8 - 1
    places = [checksum & mask, checksum * _FACTOR >> 7 & mask]
    if size & 1:
        places.append((checksum ^ checksum >> 15) & mask)
    for place in places:
        yield place >> 3, 1 << (place & 7)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
