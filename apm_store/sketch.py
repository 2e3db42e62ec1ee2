"""A mergeable sketch of durations with at most 1 % relative error.

The buckets are DDSketch's logarithmic ones (Masson, Rim, Lee: "DDSketch", VLDB 2019): bucket i holds the
values in (γ^(i-1), γ^i] with γ = (1 + α) / (1 - α), and answers with 2γ^i / (γ + 1).
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, repeat
from operator import truediv

RELATIVE_ERROR = 0.01
_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GAMMA = math.log(_GAMMA)
_PAIR = struct.Struct("<HI")  # 2^16 buckets reach far beyond 2^64 ns; a count above 2^32-1 takes a second pair
_MAX_COUNT = 0xFFFF_FFFF

_Ranked = tuple[Sequence[int], Sequence[int]]
"""Buckets in order, and how many durations lie in each of them or in one before."""


def bucket_of(duration_ns: int) -> int:
    """The bucket of a duration; 0 holds 0 and 1 ns."""
    return math.ceil(math.log(duration_ns) / _LOG_GAMMA) if duration_ns > 1 else 0


def buckets_of(durations_ns: Iterable[int]) -> list[int]:
    """The buckets of many durations; a third of what it costs to ask for each."""
    return list(map(math.ceil, map(truediv, map(math.log, [one or 1 for one in durations_ns]), repeat(_LOG_GAMMA))))


def bucket_value(bucket: int) -> float:
    """The duration in nanoseconds that stands for all durations of a bucket."""
    return 2 * _GAMMA**bucket / (_GAMMA + 1) if bucket else 0.0


def add_buckets(buckets: dict[int, int], others: Mapping[int, int]) -> None:
    """Add counts by bucket to those in `buckets`."""
    if not buckets:
        buckets.update(others)
        return
    get = buckets.get
    for bucket, count in others.items():
        buckets[bucket] = get(bucket, 0) + count


class Sketch:
    """Counts of durations by logarithmic bucket."""

    __slots__ = ("_buckets", "_packed", "_ranked")

    def __init__(self, buckets: Mapping[int, int] | None = None) -> None:
        self._buckets: dict[int, int] = dict(buckets or {})
        self._packed = b""  # in place of the buckets, until these are asked for
        self._ranked: _Ranked | None = None

    @property
    def buckets(self) -> dict[int, int]:
        """How many durations lie in each bucket; those that hold none are left out."""
        packed = self._packed
        if packed:
            self._buckets = {bucket: count for bucket, count in zip(*_unpacked(packed), strict=True) if count}
            self._packed = b""
        return self._buckets

    @property
    def count(self) -> int:
        """How many durations there are."""
        _, seen = self._ranks()
        return seen[-1] if seen else 0

    def add(self, duration_ns: int, count: int = 1) -> None:
        """Count a duration `count` times."""
        add_buckets(self.buckets, {bucket_of(duration_ns): count})
        self._ranked = None

    def merge(self, other: Sketch) -> None:
        """Add all of `other` to this sketch."""
        packed = other._packed
        if packed and not self._buckets:
            self._packed += packed
        else:
            add_buckets(self.buckets, other.buckets)
        self._ranked = None

    def quantile(self, q: float) -> float | None:
        """The duration in nanoseconds that a share `q` (0 to 1) of all durations does not exceed; None when empty."""
        ordered, seen = self._ranks()
        if not seen or not seen[-1]:
            return None
        return bucket_value(ordered[min(bisect_right(seen, q * (seen[-1] - 1)), len(ordered) - 1)])

    def count_at_most(self, duration_ns: int) -> int:
        """How many durations do not exceed `duration_ns`; those within 1 % of it may fall on either side."""
        ordered, seen = self._ranks()
        place = bisect_right(ordered, bucket_of(duration_ns))
        return seen[place - 1] if place else 0

    def to_bytes(self) -> bytes:
        """Pack the sketch, 6 bytes per bucket."""
        if self.count <= _MAX_COUNT:
            return b"".join(map(_PAIR.pack, self.buckets, self.buckets.values()))
        parts: list[bytes] = []
        for bucket, count in self.buckets.items():
            full, rest = divmod(count, _MAX_COUNT)
            parts += [_PAIR.pack(bucket, _MAX_COUNT)] * full + [_PAIR.pack(bucket, rest)]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Sketch:
        """Unpack what `to_bytes` packed, which hardly ever holds a bucket twice."""
        buckets: dict[int, int] = dict(_PAIR.iter_unpack(data))
        return cls(buckets) if len(buckets) * _PAIR.size == len(data) else cls.from_many((data,))

    @classmethod
    def from_many(cls, blobs: Iterable[bytes]) -> Sketch:
        """Many packed sketches as one, which is unpacked when something is asked of it."""
        sketch = cls()
        sketch._packed = b"".join(blobs)
        return sketch

    def _ranks(self) -> _Ranked:
        if self._ranked is None:
            packed = self._packed
            ordered, counts = _unpacked(packed) if packed else _in_order(self._buckets)
            self._ranked = ordered, array("Q", accumulate(counts))
        return self._ranked

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sketch) and self.buckets == other.buckets

    __hash__ = None  # type: ignore[assignment]  # a sketch changes when durations are added

    def __repr__(self) -> str:
        return f"Sketch(count={self.count})"


def _in_order(buckets: dict[int, int]) -> tuple[list[int], list[int]]:
    ordered = sorted(buckets)
    return ordered, list(map(buckets.__getitem__, ordered))


def _unpacked(packed: bytes) -> tuple[range, list[int]]:
    """The buckets from the first to the last of many packed ones, and how many durations lie in each.

    A list that has a place for every bucket is filled in half the time that a dictionary takes.
    """
    halves = array("H", packed)
    if sys.byteorder == "big":
        halves.byteswap()
    buckets, low, high = halves[::3].tolist(), halves[1::3].tolist(), halves[2::3]
    counts = [0] * (max(buckets) + 1)
    for bucket, count in zip(buckets, low, strict=True):
        counts[bucket] += count
    if high.tobytes().strip(b"\0"):  # counts beyond 65,535
        for bucket, count in zip(buckets, high, strict=True):
            counts[bucket] += count << 16
    first = min(buckets)
    return range(first, len(counts)), counts[first:]
