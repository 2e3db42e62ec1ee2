"""A mergeable sketch of durations with at most 1 % relative error.

The buckets are DDSketch's logarithmic ones (Masson, Rim, Lee: "DDSketch", VLDB 2019): bucket i holds the
values in (γ^(i-1), γ^i] with γ = (1 + α) / (1 - α), and answers with 2γ^i / (γ + 1).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import chain, repeat
from operator import truediv

RELATIVE_ERROR = 0.01
_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GAMMA = math.log(_GAMMA)
_PAIR = struct.Struct("<HI")  # 2^16 buckets reach far beyond 2^64 ns; a count above 2^32-1 takes a second pair
_PAIRS_AT_ONCE = 64  # a struct takes 64 bytes for each, and there is one of every length
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


@lru_cache(maxsize=_PAIRS_AT_ONCE)
def _pairs(count: int) -> struct.Struct:
    """As many pairs of bucket and count, packed by one call."""
    return struct.Struct("<" + "HI" * count)


class Sketch:
    """Counts of durations by logarithmic bucket."""

    __slots__ = ("buckets", "count")

    def __init__(self, buckets: Mapping[int, int] | None = None) -> None:
        self.buckets: dict[int, int] = dict(buckets or {})
        self.count = sum(self.buckets.values())

    def add(self, duration_ns: int, count: int = 1) -> None:
        """Count a duration `count` times."""
        bucket = bucket_of(duration_ns)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.count += count

    def merge(self, other: Sketch) -> None:
        """Add all of `other` to this sketch."""
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.count += other.count

    def quantile(self, q: float) -> float | None:
        """The duration in nanoseconds that a share `q` (0 to 1) of all durations does not exceed; None when empty."""
        if not self.count:
            return None
        rank = q * (self.count - 1)
        seen = 0
        bucket = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen > rank:
                break
        return bucket_value(bucket)

    def count_at_most(self, duration_ns: int) -> int:
        """How many durations do not exceed `duration_ns`; those within 1 % of it may fall on either side."""
        limit = bucket_of(duration_ns)
        return sum(count for bucket, count in self.buckets.items() if bucket <= limit)

    def to_bytes(self) -> bytes:
        """Pack the sketch, 6 bytes per bucket."""
        pairs = [(bucket, min(count, _MAX_COUNT)) for bucket, count in self.buckets.items()]
        for bucket, count in self.buckets.items():
            if count > _MAX_COUNT:
                full, rest = divmod(count - _MAX_COUNT, _MAX_COUNT)
                pairs += [(bucket, _MAX_COUNT)] * full + [(bucket, rest)]
        parts = [pairs[at : at + _PAIRS_AT_ONCE] for at in range(0, len(pairs), _PAIRS_AT_ONCE)]
        return b"".join([_pairs(len(part)).pack(*chain.from_iterable(part)) for part in parts])

    @classmethod
    def from_bytes(cls, data: bytes) -> Sketch:
        """Unpack what `to_bytes` packed."""
        return cls.from_many((data,))

    @classmethod
    def from_many(cls, blobs: Iterable[bytes]) -> Sketch:
        """Unpack and merge many packed sketches."""
        buckets: dict[int, int] = {}
        get = buckets.get
        for blob in blobs:
            for bucket, count in _PAIR.iter_unpack(blob):
                buckets[bucket] = get(bucket, 0) + count
        return cls(buckets)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sketch) and self.buckets == other.buckets

    __hash__ = None  # type: ignore[assignment]  # a sketch changes when durations are added

    def __repr__(self) -> str:
        return f"Sketch(count={self.count})"
