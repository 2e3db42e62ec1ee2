"""Pairs calling spans with called ones, so that the service map is counted while spans are indexed.

A call is known by the trace and the span id of its caller. Either half may come first; a half that stays alone is
a call from or to a virtual node, until its partner comes late and corrects that.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from apm_store.model import SpanKind
from apm_store.sketch import Sketch, bucket_of
from apm_store.sqlite.block import FAILED, NO_PARENT, BlockSpan
from apm_store.sqlite.dictionaries import Dictionaries
from apm_store.sqlite.hot_cells import HotCells
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
_MAX_NAME_CHARS = 200
_CALLERS = (int(SpanKind.CLIENT), int(SpanKind.PRODUCER))
_CONSUMER = int(SpanKind.CONSUMER)
_MESSAGING = {int(SpanKind.PRODUCER): "messaging", int(SpanKind.CONSUMER): "messaging"}


class Peer(NamedTuple):
    """What a span says of the other side: its name ("" for none), and the kind of the call."""

    name: str
    kind: str


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

    def merge(self, other: EdgeCell) -> None:
        """Add all of `other`."""
        self.count += other.count
        self.failed_count += other.failed_count
        for mine, others in ((self.client, other.client), (self.server, other.server)):
            for bucket, count in others.items():
                mine[bucket] += count


_Half = tuple[int, int, bool, str, str, str]
"""One side of a call: minute, sketch bucket, whether it failed, service, name of the peer, kind of the call ("")."""


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
    They are not stored. To continue after a restart, feed the spans received in the last `2 * WAIT_S` seconds again,
    call `expire` with the time of the last, and drop what `take` then gives: it was counted before.
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
        self._counted: dict[tuple[Any, ...], EdgeCell] = defaultdict(EdgeCell)

    def add(self, span: BlockSpan, service: str, peer: Peer | None) -> None:
        """Take in a new span of one of the `EDGE_KINDS`, with its service and the peer that it names."""
        trace_id, span_id, parent_id, start_ns, duration_ns, _, _, kind, outcome, http_status, _, _, _ = span
        name, call_kind = peer or _NO_PEER
        call_kind = call_kind or ("http" if http_status else _MESSAGING.get(kind, ""))
        minute_s = start_ns // _NS_PER_MINUTE * MINUTE_S
        if kind in _CALLERS:
            half = (minute_s, bucket_of(duration_ns), outcome == FAILED, service, name, call_kind)
            if call_kind == "database":
                self._count_lone_caller(half, 1)  # databases send no spans
            else:
                self._add_caller(trace_id + span_id, half)
            return
        if kind != _CONSUMER:
            name = ""  # a server names itself
        half = (minute_s, bucket_of(duration_ns), outcome == FAILED, service, name, call_kind)
        if parent_id == NO_PARENT:
            self._count_lone_callee(half, 1)
        else:
            self._add_callee(trace_id + parent_id, half)

    def expire(self, now_ns: int) -> None:
        """Count halves that were added more than `WAIT_S` before a time of receipt, in nanoseconds, as lone ones."""
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
        counted, self._counted = self._counted, defaultdict(EdgeCell)
        return {EdgeKey(*key): cell for key, cell in counted.items()}

    def _add_caller(self, key: bytes, caller: _Half) -> None:
        state, callees = self._calls.get(key, _NO_CALL)
        if isinstance(callees, list):
            self._calls[key] = (_PAIRED, caller)
            self._halves -= len(callees)
            for callee in callees:
                if state == _LONE:
                    self._count_lone_callee(callee, -1)
                self._count_pair(caller, callee)
        elif callees is None:
            self._calls[key] = (_WAITING, caller)
            self._waiting.append(key)
        else:  # a span of another kind has the same id
            self._count_lone_caller(caller, 1)
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
                    self._count_lone_caller(half, -1)
            self._count_pair(half, callee)
            return
        if half is None:
            self._calls[key] = (_WAITING, [callee])
            self._waiting.append(key)
        else:
            half.append(callee)
            if state == _LONE:
                self._count_lone_callee(callee, 1)
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
                self._count_lone_caller(half, 1)
            for callee in half if isinstance(half, list) else ():
                self._count_lone_callee(callee, 1)

    def _count_pair(self, caller: _Half, callee: _Half) -> None:
        minute_s, client, failed, source, _, kind = caller
        _, server, has_failed, target, _, callee_kind = callee
        cell = self._counted[minute_s, source, target, kind or callee_kind or "other", False, False]
        cell.count += 1
        if failed or has_failed:
            cell.failed_count += 1
        cell.client[client] += 1
        cell.server[server] += 1

    def _count_lone_caller(self, caller: _Half, count: int) -> None:
        minute_s, client, failed, source, target, kind = caller
        cell = self._counted[minute_s, source, target or UNKNOWN, kind or "other", False, True]
        cell.count += count
        cell.failed_count += count * failed
        cell.client[client] += count

    def _count_lone_callee(self, callee: _Half, count: int) -> None:
        minute_s, server, failed, target, source, kind = callee
        cell = self._counted[minute_s, source or USER, target, kind or "other", True, False]
        cell.count += count
        cell.failed_count += count * failed
        cell.server[server] += count


_PEER_SERVICE = ("peer.service", "service.peer.name")
_ADDRESSES = (
    ("server.address", "server.port"),
    ("net.peer.name", "net.peer.port"),
    ("network.peer.address", "network.peer.port"),
    ("net.sock.peer.addr", "net.sock.peer.port"),
)
_DESTINATION = ("messaging.destination.name", "messaging.destination")
_KIND_OF = {
    "db.system.name": "database",
    "db.system": "database",
    "messaging.system": "messaging",
    "rpc.system.name": "rpc",
    "rpc.system": "rpc",
    "http.request.method": "http",
    "http.method": "http",
}
_NAMES_OF_KIND = {
    "database": ("db.namespace", "db.name", "db.system.name", "db.system"),
    "messaging": ("messaging.system",),
    "rpc": ("rpc.service",),
}
PEER_ATTRIBUTES = frozenset(
    (
        *_PEER_SERVICE,
        *(key for pair in _ADDRESSES for key in pair),
        *_DESTINATION,
        *_KIND_OF,
        *(key for keys in _NAMES_OF_KIND.values() for key in keys),
    )
)
"""The keys of the span attributes that `peer_of` looks at."""


def peer_of(attributes: Mapping[str, Any]) -> Peer | None:
    """The peer that a span names in its attributes (`AnyValue` by key); None when they say nothing of one.

    Its name is `peer.service`, or else the topic of a message, or else the address and port, or else what is known of
    the database or the called service. A topic goes before its broker, because both sides of it share it.
    """
    kind = next((kind for key, kind in _KIND_OF.items() if key in attributes), "")
    name = _text(attributes, _PEER_SERVICE) or (kind == "messaging" and _text(attributes, _DESTINATION))
    name = name or _address(attributes) or _text(attributes, _NAMES_OF_KIND.get(kind, ()))
    return Peer(name[:_MAX_NAME_CHARS], kind) if name or kind else None


def _text(attributes: Mapping[str, Any], keys: Iterable[str]) -> str:
    """The first of these attributes that is a string; "" when none is."""
    for key in keys:
        value = attributes.get(key)
        if value is not None and value.string_value:
            return str(value.string_value)
    return ""


def _address(attributes: Mapping[str, Any]) -> str:
    for address_key, port_key in _ADDRESSES:
        address = attributes.get(address_key)
        if address is not None and address.string_value:
            port = attributes.get(port_key)
            number = (port.int_value or port.string_value) if port is not None else ""
            return f"{address.string_value}:{number}" if number else str(address.string_value)
    return ""


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
