"""How an OTLP body lies in the database, and how the id of an item says where it lies.

An item's id is its body's id times 2^20 plus its position in the request: items of one body lie side by side,
and no index has to lead from an item to its body.
"""

from __future__ import annotations

import sys
from hashlib import blake2b

from apm_store.api import StoreError
from apm_store.model import Signal

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CODEC = "zstd"
MAX_ITEMS = 1 << 20
MAX_INT = (1 << 63) - 1  # SQLite's largest integer; OTLP times reach 2^64 - 1
_LEVEL = 1


def pack(body: bytes) -> bytes:
    """Compress a body for storage."""
    return zstd.compress(body, _LEVEL)


def unpack(codec: str, data: bytes) -> bytes:
    """The body from its stored form; raises StoreError for a codec that this version does not know."""
    if codec != CODEC:
        raise StoreError(f"A stored body has the codec {codec!r}; this Spanwise reads {CODEC!r} alone.")
    return zstd.decompress(data)


def digest_of(signal: Signal, body: bytes) -> bytes:
    """What tells a body from every other one: 16 bytes over signal and content."""
    return blake2b(body, digest_size=16, person=signal.value.encode()).digest()


def item_id(body_id: int, position: int) -> int:
    """The id of the item at a position of a body."""
    return body_id * MAX_ITEMS + position


def place_of(item: int) -> tuple[int, int]:
    """The body id and the position that an item's id stands for."""
    return divmod(item, MAX_ITEMS)


def clamp(number: int) -> int:
    """The number, or SQLite's largest integer when it is greater."""
    return min(number, MAX_INT)
