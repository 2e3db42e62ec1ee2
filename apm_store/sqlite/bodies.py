"""What tells a body from every other one, and how the id of an item says where it lies.

An item's id is the number of its body in the segment times 2^20 plus its position in the request: items of one body
lie side by side, and no index has to lead from an item to its body.
"""

from __future__ import annotations

from hashlib import blake2b

from google.protobuf.message import DecodeError

from apm_store.api import StoreError
from apm_store.model import Signal

BODY_ERRORS = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, StoreError, DecodeError)
"""What reading a stored body raises when it is damaged or cannot be understood."""

MAX_ITEMS = 1 << 20
MAX_INT = (1 << 63) - 1  # SQLite's largest integer; OTLP times reach 2^64 - 1


def digest_of(signal: Signal, body: bytes) -> bytes:
    """What tells a body from every other one: 16 bytes over signal and content."""
    return blake2b(body, digest_size=16, person=signal.value.encode()).digest()


def item_id(seq: int, position: int) -> int:
    """The id of the item at a position of a body."""
    return seq * MAX_ITEMS + position


def place_of(item: int) -> tuple[int, int]:
    """The number of the body and the position that an item's id stands for."""
    return divmod(item, MAX_ITEMS)


def clamp(number: int) -> int:
    """The number, or SQLite's largest integer when it is greater."""
    return min(number, MAX_INT)
