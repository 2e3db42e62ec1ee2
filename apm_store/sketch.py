"""A mergeable sketch of durations with at most 1 % relative error.

The buckets are DDSketch's logarithmic ones (Masson, Rim, Lee: "DDSketch", VLDB 2019): bucket i holds the
values in (γ^(i-1), γ^i] with γ = (1 + α) / (1 - α), and answers with 2γ^i / (γ + 1).
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate, repeat
from operator import truediv

RELATIVE_ERROR = 0.01
_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GAMMA = math.log(_GAMMA)
_PAIR = struct.Struct("<HI")  # 2^16 buckets reach far beyond 2^64 ns; a count above 2^32-1 takes a second pair
_MAX_COUNT = 0xFFFF_FFFF


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

    __slots__ = ("_ranked", "buckets", "count")

    def __init__(self, buckets: Mapping[int, int] | None = None) -> None:
        self.buckets: dict[int, int] = dict(buckets or {})
        self.count = sum(self.buckets.values())
        self._ranked: tuple[int, list[int], list[int]] = (0, [], [])

    def add(self, duration_ns: int, count: int = 1) -> None:
        """Count a duration `count` times."""
        bucket = bucket_of(duration_ns)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.count += count

    def merge(self, other: Sketch) -> None:
        """Add all of `other` to this sketch."""
        add_buckets(self.buckets, other.buckets)
        self.count += other.count

    def quantile(self, q: float) -> float | None:
        """The duration in nanoseconds that a share `q` (0 to 1) of all durations does not exceed; None when empty."""
        if not self.count:
            return None
        if self._ranked[0] != self.count:  # whatever is added makes it greater
            ordered = sorted(self.buckets)
            self._ranked = (self.count, ordered, list(accumulate(map(self.buckets.__getitem__, ordered))))
        _, ordered, seen = self._ranked
        return bucket_value(ordered[min(bisect_right(seen, q * (self.count - 1)), len(ordered) - 1)])

    def count_at_most(self, duration_ns: int) -> int:
        """How many durations do not exceed `duration_ns`; those within 1 % of it may fall on either side."""
        limit = bucket_of(duration_ns)
        return sum(count for bucket, count in self.buckets.items() if bucket <= limit)

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
        """Unpack and merge many packed sketches."""
        buckets: dict[int, int] = {}
        get = buckets.get
        for bucket, count in _PAIR.iter_unpack(b"".join(blobs)):
            buckets[bucket] = get(bucket, 0) + count
        return cls(buckets)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sketch) and self.buckets == other.buckets

    __hash__ = None  # type: ignore[assignment]  # a sketch changes when durations are added

    def __repr__(self) -> str:
        return f"Sketch(count={self.count})"
