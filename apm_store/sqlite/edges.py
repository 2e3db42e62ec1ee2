"""Pairs calling spans with called ones, so that the service map is counted while spans are indexed.

A call is known by the trace and the span id of its caller. Either half may come first; a half that stays alone is
a call from or to a virtual node, until its partner comes late and corrects that.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import orjson

from apm_store.model import SpanKind
from apm_store.sketch import Sketch, add_buckets, buckets_of
from apm_store.sqlite.block import FAILED, NO_PARENT, BlockSpan
from apm_store.sqlite.dictionaries import Dictionaries
from apm_store.sqlite.hot_cells import HotCells
from apm_store.sqlite.peers import Peer
from apm_store.sqlite.rollups import HOUR_S, MINUTE_S

EDGE_KINDS = frozenset(map(int, (SpanKind.SERVER, SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER)))
"""The kinds of spans that are half of a call."""

USER = "user"
"""The virtual node that calls what nobody else called."""

UNKNOWN = "unknown"
"""The virtual node that is called where the caller does not say whom."""

WAIT_S = 10.0
"""How long a half waits for the other: twice the 5 s after which SDKs send what they gathered."""

MAX_HALVES = 50_000
"""Halves that are remembered, waiting or not: about 25 MB."""

MAX_SETTLED = 10_000
"""Calls that are remembered when they do not wait any more, for what comes late: about 5 MB."""

_NS_PER_MINUTE = MINUTE_S * 1_000_000_000
_WAIT_NS = int(WAIT_S * 1e9)
_CALLERS = (int(SpanKind.CLIENT), int(SpanKind.PRODUCER))
_CONSUMER = int(SpanKind.CONSUMER)
_MESSAGING = {int(SpanKind.PRODUCER): "messaging", int(SpanKind.CONSUMER): "messaging"}


_NO_PEER = Peer("", "")


class EdgeKey(NamedTuple):
    """One edge in one minute."""

    start_s: int
    source: str
    target: str
    kind: str
    is_virtual_source: bool
    is_virtual_target: bool


def _no_buckets() -> dict[int, int]:
    return defaultdict(int)


@dataclass(slots=True)
class EdgeCell:
    """The calls of one key: how many, how many failed, and how long they took on either side, by sketch bucket.

    What corrects an earlier count has negative numbers.
    """

    count: int = 0
    failed_count: int = 0
    client: dict[int, int] = field(default_factory=_no_buckets)
    server: dict[int, int] = field(default_factory=_no_buckets)

    def add(self, sign: int, has_failed: bool, durations: _Durations) -> None:
        """Add calls (1), or take them away (-1), of which all failed or none."""
        client, server = durations
        count = sign * max(len(client), len(server))
        self.count += count
        self.failed_count += count * has_failed
        for buckets, side in ((self.client, client), (self.server, server)):
            for bucket, times in Counter(buckets_of(side)).items():
                buckets[bucket] += sign * times

    def merge(self, other: EdgeCell) -> None:
        """Add all of `other`."""
        self.count += other.count
        self.failed_count += other.failed_count
        add_buckets(self.client, other.client)
        add_buckets(self.server, other.server)


_Side = bytes
"""What many ends of calls have in common, as JSON, because bytes are a cheap key: minute, whether they failed, service,
name of the peer, kind of the call; b"" stands for the side of a virtual node."""

_Half = tuple[_Side, int]
"""One end of a call, and how long it lasted in nanoseconds."""

_Durations = tuple[list[int], list[int]]
"""How long calls lasted in nanoseconds, as callers and as callees saw it."""

_CALLER, _DATABASE_CALLER, _CALLEE = range(3)
_NOBODY = b""

_Call = tuple[int, _Half | list[_Half] | None]
"""A call that is remembered: whether it is WAITING (not counted yet), LONE (counted with a virtual node) or PAIRED
(counted once per callee); then its caller or, while that has not come, its callees."""

_WAITING, _LONE, _PAIRED = range(3)
_NO_CALL: _Call = (_WAITING, None)


class EdgePairing:
    """Counts the edges of the service map from the spans that are fed to it, each once, in any order.

    A call is counted in the minute in which its caller starts. Calls from a service to itself are edges too: spans
    do not tell whether caller and callee are the same process. When one caller has several callees, each is a call.
    At most `max_halves` and MAX_SETTLED are remembered; the oldest count as lone then, and are not corrected any more.
    They are not stored: after a restart `recall_calls` feeds the latest spans again.
    """

    def __init__(self, max_halves: int = MAX_HALVES) -> None:
        self._max_halves = max_halves
        self.clear()

    def clear(self) -> None:
        """Forget all halves and all that was counted since the last `take`."""
        self._calls: dict[bytes, _Call] = {}
        self._halves = 0
        self._waiting: deque[bytes] = deque()
        self._settled: deque[bytes] = deque()
        self._settled_count = 0
        self._marks: deque[tuple[int, int]] = deque()  # at which times how many calls had been added
        self._sides = _Sides()
        self._counted: dict[tuple[_Side, _Side], _Durations] = defaultdict(_no_durations)
        self._undone: dict[tuple[_Side, _Side], _Durations] = defaultdict(_no_durations)

    def add(self, span: BlockSpan, service: str, peer: Peer | None) -> None:
        """Take in a new span of one of the `EDGE_KINDS`, with its service and the peer that it names."""
        trace_id, span_id, parent_id, start_ns, duration_ns, _, _, kind, outcome, http_status, _, _, _ = span
        role, side = self._sides[start_ns // _NS_PER_MINUTE, kind, outcome, http_status, service, peer]
        if role == _DATABASE_CALLER:
            self._counted[side, _NOBODY][0].append(duration_ns)  # databases send no spans
        elif role == _CALLER:
            self._add_caller(trace_id + span_id, (side, duration_ns))
        elif parent_id == NO_PARENT:
            self._counted[_NOBODY, side][1].append(duration_ns)
        else:
            self._add_callee(trace_id + parent_id, (side, duration_ns))

    def expire(self, now_ns: int) -> None:
        """Count halves that were added more than `WAIT_S` before a time of receipt, in nanoseconds, as lone ones.

        A clock that was set back makes those wait anew that were added since.
        """
        while self._marks and self._marks[-1][0] >= now_ns:
            self._marks.pop()
        self._marks.append((now_ns, self._settled_count + len(self._waiting)))
        while self._marks and self._marks[0][0] <= now_ns - _WAIT_NS:
            _, added = self._marks.popleft()
            while self._settled_count < added:
                self._settle_oldest()
        self._forget()

    def due_ns(self) -> int | None:
        """The time of receipt from which `expire` may find lone halves; None while none waits that it has seen."""
        return self._marks[0][0] + _WAIT_NS if self._waiting and self._marks else None

    def take(self) -> dict[EdgeKey, EdgeCell]:
        """The edges that were counted or corrected since the last call, by minute."""
        cells: dict[EdgeKey, EdgeCell] = defaultdict(EdgeCell)
        for sign, counted in ((1, self._counted), (-1, self._undone)):
            for (caller, callee), durations in counted.items():
                key, has_failed = _edge_of(caller, callee)
                cells[key].add(sign, has_failed, durations)
        self._counted.clear()
        self._undone.clear()
        self._sides.clear()
        return dict(cells)

    def _add_caller(self, key: bytes, caller: _Half) -> None:
        state, callees = self._calls.get(key, _NO_CALL)
        if isinstance(callees, list):
            self._calls[key] = (_PAIRED, caller)
            self._halves -= len(callees)
            for callee in callees:
                if state == _LONE:
                    self._undone[_NOBODY, callee[0]][1].append(callee[1])
                self._count_pair(caller, callee)
        elif callees is None:
            self._calls[key] = (_WAITING, caller)
            self._waiting.append(key)
        else:  # a span of another kind has the same id
            self._count_lone_caller(caller)
            return
        self._halves += 1
        if self._halves > self._max_halves:
            self._forget()

    def _add_callee(self, key: bytes, callee: _Half) -> None:
        state, half = self._calls.get(key, _NO_CALL)
        if isinstance(half, tuple):
            if state != _PAIRED:
                self._calls[key] = (_PAIRED, half)
                if state == _LONE:
                    self._undone[half[0], _NOBODY][0].append(half[1])
            self._count_pair(half, callee)
            return
        if half is None:
            self._calls[key] = (_WAITING, [callee])
            self._waiting.append(key)
        else:
            half.append(callee)
            if state == _LONE:
                self._count_lone_callee(callee)
        self._halves += 1
        if self._halves > self._max_halves:
            self._forget()

    def _forget(self) -> None:
        """Let the oldest go until the limits are kept."""
        while self._halves > self._max_halves or len(self._settled) > MAX_SETTLED:
            if not self._settled:
                self._settle_oldest()
            _, half = self._calls.pop(self._settled.popleft())
            self._halves -= len(half) if isinstance(half, list) else 1

    def _settle_oldest(self) -> None:
        """Count the oldest of the waiting calls as lone, if it is."""
        key = self._waiting.popleft()
        self._settled.append(key)
        self._settled_count += 1
        state, half = self._calls[key]
        if state == _WAITING:
            self._calls[key] = (_LONE, half)
            if isinstance(half, tuple):
                self._count_lone_caller(half)
            for callee in half if isinstance(half, list) else ():
                self._count_lone_callee(callee)

    def _count_pair(self, caller: _Half, callee: _Half) -> None:
        client, server = self._counted[caller[0], callee[0]]
        client.append(caller[1])
        server.append(callee[1])

    def _count_lone_caller(self, caller: _Half) -> None:
        self._counted[caller[0], _NOBODY][0].append(caller[1])

    def _count_lone_callee(self, callee: _Half) -> None:
        self._counted[_NOBODY, callee[0]][1].append(callee[1])


def _no_durations() -> _Durations:
    return [], []


class _Sides(dict[tuple[Any, ...], tuple[int, _Side]]):
    """The role and the side of spans by minute since 1970, kind, outcome, HTTP status, service and peer."""

    def __missing__(self, key: tuple[Any, ...]) -> tuple[int, _Side]:
        minute, kind, outcome, http_status, service, peer = key
        name, call_kind = peer or _NO_PEER
        call_kind = call_kind or ("http" if http_status else _MESSAGING.get(kind, ""))
        role = _CALLEE
        if kind in _CALLERS:
            role = _DATABASE_CALLER if call_kind == "database" else _CALLER
        elif kind != _CONSUMER:
            name = ""  # a server names itself
        side = orjson.dumps((minute * MINUTE_S, outcome == FAILED, service, name, call_kind))
        self[key] = role, side
        return role, side


def _edge_of(caller: _Side, callee: _Side) -> tuple[EdgeKey, bool]:
    """The edge of calls with these sides, and whether they failed."""
    if not callee:
        minute_s, has_failed, source, target, kind = orjson.loads(caller)
        return EdgeKey(minute_s, source, target or UNKNOWN, kind or "other", False, True), has_failed
    minute_s, has_failed, target, source, kind = orjson.loads(callee)
    if not caller:
        return EdgeKey(minute_s, source or USER, target, kind or "other", True, False), has_failed
    minute_s, caller_failed, source, _, caller_kind = orjson.loads(caller)
    return EdgeKey(minute_s, source, target, caller_kind or kind or "other", False, False), caller_failed or has_failed


_SELECT = (
    "SELECT count, failed_count, client_sketch, server_sketch FROM edge_rollup "
    "WHERE step_s = ? AND start_s = ? AND source_id = ? AND target_id = ? AND kind = ?"
)
_REPLACE = "INSERT OR REPLACE INTO edge_rollup VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_CellKey = tuple[int, int, int, int, str]


class EdgeRollup:
    """Writes edges by minute and by hour; remembers the cells that were written lately."""

    def __init__(self) -> None:
        self._hot: HotCells[_CellKey, EdgeCell] = HotCells()

    def flush(self, connection: sqlite3.Connection, names: Dictionaries, edges: Mapping[EdgeKey, EdgeCell]) -> None:
        """Add edges to the table, in the open transaction of `connection`; call `clear` when that is undone."""
        changed: dict[_CellKey, EdgeCell] = {}
        for edge, cell in edges.items():
            source_id = names.node_id(edge.source, edge.is_virtual_source)
            target_id = names.node_id(edge.target, edge.is_virtual_target)
            for step_s in (MINUTE_S, HOUR_S):
                key = (step_s, edge.start_s // step_s * step_s, source_id, target_id, edge.kind)
                hot = changed[key] = self._hot.cell(key, partial(self._stored, key, connection))
                hot.merge(cell)
        connection.executemany(_REPLACE, [(*key, *_packed(cell)) for key, cell in changed.items()])
        self._hot.end_flush()

    def clear(self) -> None:
        """Forget what the table is thought to hold."""
        self._hot.clear()

    def _stored(self, key: _CellKey, connection: sqlite3.Connection) -> EdgeCell:
        """What the table holds of a key."""
        count, failed_count, client, server = connection.execute(_SELECT, key).fetchone() or (0, 0, b"", b"")
        cell = EdgeCell(count, failed_count)
        cell.client.update(Sketch.from_bytes(client).buckets)
        cell.server.update(Sketch.from_bytes(server).buckets)
        return cell


def _packed(cell: EdgeCell) -> tuple[int, int, bytes, bytes]:
    """The columns of a cell; a correction of what the table does not hold changes nothing."""
    return max(0, cell.count), max(0, cell.failed_count), _sketch(cell.client), _sketch(cell.server)


def _sketch(buckets: Mapping[int, int]) -> bytes:
    return Sketch({bucket: count for bucket, count in buckets.items() if count > 0}).to_bytes()
