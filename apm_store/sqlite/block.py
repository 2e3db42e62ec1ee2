"""A block: some thousand spans as columns, which is how the store finds, lists and measures them.

Entry spans stand first. The spans of a block come from consecutive bodies of the log.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, count
from operator import attrgetter
from typing import Any, NamedTuple

import orjson

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

OK, CLIENT_ERROR, FAILED = 0, 1, 2
NO_PARENT = bytes(8)
_LEVEL = 3
_COLUMNS = (
    "start_ns",
    "duration_ns",
    "trace",
    "service_id",
    "operation_id",
    "kind",
    "outcome",
    "http_status",
    "statement_id",
    "body",
)
_WIDTHS = ((1 << 8, "B"), (1 << 16, "H"), (1 << 32, "I"), (1 << 64, "Q"))
_SIZES = {code: array(code).itemsize for _, code in _WIDTHS}


class BlockSpan(NamedTuple):
    """One span of a block.

    `trace_id` has 16 bytes, `span_id` and `parent_span_id` 8, the latter zeros for a root. `outcome` is OK,
    CLIENT_ERROR or FAILED; `http_status` and `statement_id` are 0 for none; `seq` is the body that it came in.
    """

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    start_ns: int
    duration_ns: int
    service_id: int
    operation_id: int
    kind: int
    outcome: int
    http_status: int
    statement_id: int
    is_entry: bool
    seq: int


_is_entry = attrgetter("is_entry")


class Zone(NamedTuple):
    """The entry spans of a block with one service and outcome: how many, and the longest."""

    service_id: int
    outcome: int
    span_count: int
    max_ns: int


def pack_block(spans: Sequence[BlockSpan]) -> bytes:
    """The spans as the data of a block."""
    ordered = sorted(spans, key=_is_entry, reverse=True)
    trace_ids, span_ids, parents, starts, durations, services, operations, *rest = zip(*ordered, strict=True)
    kinds, outcomes, http, statements, are_entries, seqs = rest
    traces = {trace_id: index for index, trace_id in enumerate(dict.fromkeys(trace_ids))}
    bodies = {seq: index for index, seq in enumerate(sorted(set(seqs)))}
    columns: tuple[Sequence[int], ...] = (
        starts,
        durations,
        list(map(traces.__getitem__, trace_ids)),
        services,
        operations,
        kinds if min(kinds) >= 0 else [kind & 0xFFFF_FFFF for kind in kinds],  # an unknown kind may be any int32
        outcomes,
        http,
        statements,
        list(map(bodies.__getitem__, seqs)),
    )
    parts = [b"".join(traces), array("I", bodies).tobytes(), b"".join(span_ids), b"".join(parents)]
    packed = list(map(_narrowest, columns))
    head = array("I", (len(ordered), sum(are_entries), len(traces), len(bodies))).tobytes()
    widths = "".join(column.typecode for column in packed).encode()
    return zstd.compress(b"".join((head, widths, *parts, *(column.tobytes() for column in packed))), _LEVEL)


def _narrowest(numbers: Sequence[int]) -> array[int]:
    """The numbers, none of which is negative, in as few bytes each as the greatest needs."""
    greatest = max(numbers)
    return array(next(code for limit, code in _WIDTHS if greatest < limit), numbers)


def zones_of(spans: Iterable[BlockSpan]) -> bytes:
    """The zones of a block's entry spans, packed."""
    zones: dict[tuple[int, int], tuple[int, int]] = {}
    for span in spans:
        if span.is_entry:
            key = (span.service_id, span.outcome)
            count, max_ns = zones.get(key, (0, -1))
            zones[key] = (count + 1, max(max_ns, span.duration_ns))
    return orjson.dumps([(*key, *value) for key, value in zones.items()])


def read_zones(packed: bytes) -> list[Zone]:
    """The zones that `zones_of` packed."""
    return [Zone(*zone) for zone in orjson.loads(packed)]


class Block:
    """The columns of a block, as sequences of equal length; the first `entry_count` spans are entry spans.

    `trace` is an index into `trace_ids` (one string of 16 bytes each), `body` one into `seqs`.
    """

    __slots__ = (
        "_parent_ids",
        "_span_ids",
        "body",
        "duration_ns",
        "entry_count",
        "http_status",
        "kind",
        "operation_id",
        "outcome",
        "seqs",
        "service_id",
        "span_count",
        "start_ns",
        "statement_id",
        "trace",
        "trace_ids",
    )

    trace: Any
    start_ns: Any
    duration_ns: Any
    service_id: Any
    operation_id: Any
    kind: Any
    outcome: Any
    http_status: Any
    statement_id: Any
    body: Any

    def __init__(self, data: bytes) -> None:
        content = memoryview(zstd.decompress(data))
        self.span_count, self.entry_count, traces, bodies = content[:16].cast("I")
        widths = content[16 : 16 + len(_COLUMNS)].tobytes().decode()
        at = 16 + len(_COLUMNS)

        def take(size: int) -> memoryview:
            nonlocal at
            at += size
            return content[at - size : at]

        self.trace_ids = take(16 * traces).tobytes()
        self.seqs: list[int] = take(4 * bodies).cast("I").tolist()
        self._span_ids = take(8 * self.span_count)
        self._parent_ids = take(8 * self.span_count)
        for name, code in zip(_COLUMNS, widths, strict=True):
            setattr(self, name, take(_SIZES[code] * self.span_count).cast(code))  # type: ignore[call-overload]

    def trace_id(self, row: int) -> bytes:
        """The trace id of a span."""
        at = 16 * self.trace[row]
        return self.trace_ids[at : at + 16]

    def key(self, row: int) -> tuple[bytes, bytes, int]:
        """Trace id, span id and kind of a span: what tells it from every other."""
        kind = self.kind[row]
        return self.trace_id(row), self._span_ids[8 * row : 8 * row + 8].tobytes(), kind - (kind >> 31 << 32)

    def span(self, row: int) -> BlockSpan:
        """One span as a whole."""
        return BlockSpan(
            self.trace_id(row),
            self._span_ids[8 * row : 8 * row + 8].tobytes(),
            self._parent_ids[8 * row : 8 * row + 8].tobytes(),
            self.start_ns[row],
            self.duration_ns[row],
            self.service_id[row],
            self.operation_id[row],
            self.kind[row] - (self.kind[row] >> 31 << 32),
            self.outcome[row],
            self.http_status[row],
            self.statement_id[row],
            row < self.entry_count,
            self.seqs[self.body[row]],
        )

    def spans(self) -> Iterator[BlockSpan]:
        """All spans, entry spans first."""
        return map(self.span, range(self.span_count))

    def index_of_trace(self, trace_id: bytes) -> int | None:
        """What the `trace` column holds for a trace; None when the block has no span of it."""
        at = self.trace_ids.find(trace_id)
        while at >= 0 and at % 16:
            at = self.trace_ids.find(trace_id, at + 1)
        return None if at < 0 else at // 16

    def rows_of_spans(self, span_ids: Iterable[bytes]) -> set[int]:
        """The rows of all spans with these ids."""
        wanted = set(array("Q", b"".join(span_ids)))
        return set(compress(count(), map(wanted.__contains__, self._span_ids.cast("Q").tolist())))

    def rows_of_trace(self, trace_id: bytes) -> list[int]:
        """The rows of all spans of a trace."""
        index = self.index_of_trace(trace_id)
        return [] if index is None else [row for row, other in enumerate(self.trace.tolist()) if other == index]
