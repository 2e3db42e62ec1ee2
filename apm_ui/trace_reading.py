"""Reads a trace from the store once, and keeps what the trace page needs of it: facts, and the waterfall's columns."""

from __future__ import annotations

import hashlib
import threading
import time
from array import array
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from apm_analysis import open_spans
from apm_analysis.trace_tree import TraceTree, build_tree
from apm_store.api import Store
from apm_store.model import Span
from apm_store.query import LogQuery
from apm_ui.components.waterfall import believable_range, display_order, http_status, waterfall_data, waterfall_json

MAX_LINES = 1_000
_MAX_OPEN_RECORDS = 2_000
_KEPT_TRACES = 2
# A large trace takes seconds to read, so while it grows it is read again only now and then.
_LARGE_SPANS = 10_000
_LARGE_REST_S = 30


@dataclass(frozen=True, slots=True)
class SpanLine:
    """One span as a line of a table; `start_ns` counts from the root's start."""

    span_id: str
    operation: str
    service: str
    slot: int
    start_ns: int
    duration_ns: int
    self_time_ns: int
    is_error: bool
    status_message: str = ""
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class TraceReading:
    """What is known of a trace. `lines` are its longest spans; `ids` and `self_times_ns` cover every span.

    `is_root_missing`: no span without a parent has arrived. `culprit` is the failed span that lies deepest.
    `open_spans` are those that have not ended as last heard of; they are among the spans and never fail.
    `self_time` is (service, slot, ns), most first, over all spans; `top_operations` (operation, calls, self time in
    ns) are those of the first service. `payload` is the waterfall's JSON and `revision` its fingerprint.
    """

    root: SpanLine
    start_ns: int
    span_count: int
    service_count: int
    error_count: int
    orphan_count: int
    root_count: int
    is_root_missing: bool
    culprit: SpanLine | None
    self_time: tuple[tuple[str, int, int], ...]
    top_operations: tuple[tuple[str, int, int], ...]
    lines: tuple[SpanLine, ...]
    open_spans: tuple[Span, ...]
    ids: str
    self_times_ns: array[int]
    subtree_ends: array[int]
    payload: bytes
    revision: str

    def self_time_ns(self, span_id: str) -> int | None:
        """The self time of a span; None when the trace has no span with this id."""
        index = self._index(span_id)
        return None if index is None else self.self_times_ns[index]

    def subtree(self, span_id: str) -> frozenset[str]:
        """The ids of a span and of all below it; empty when the trace has no span with this id."""
        index = self._index(span_id)
        if index is None:
            return frozenset()
        return frozenset(self.ids[at * 16 : at * 16 + 16] for at in range(index, self.subtree_ends[index]))

    def _index(self, span_id: str) -> int | None:
        place = self.ids.find(span_id)
        while place % 16 and place >= 0:
            place = self.ids.find(span_id, place + 1)
        return place // 16 if place >= 0 else None


class TraceReader:
    """Reads traces of one store for all threads, the same trace again only when it may have changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[int, float, TraceReading]] = OrderedDict()

    def read(self, trace_id: str) -> TraceReading | None:
        """The trace; None when the store has none of its spans. Raises StoreError."""
        with self._lock:
            version, now = self._store.stats().version, time.monotonic()
            kept = self._kept.get(trace_id)
            if kept and (kept[0] == version or now < kept[1]):
                return kept[2]
            spans = self._spans(trace_id)
            if not spans:
                return None
            slots = {service.name: service.slot for service in self._store.traces.services()}
            reading = read_spans(spans, slots)
            rest_s = _LARGE_REST_S if len(spans) > _LARGE_SPANS else 0
            self._kept[trace_id] = (version, time.monotonic() + rest_s, reading)
            self._kept.move_to_end(trace_id)
            while len(self._kept) > _KEPT_TRACES:
                self._kept.popitem(last=False)
            return reading

    def _spans(self, trace_id: str) -> list[Span]:
        """The spans that have ended, and those of which only records tell."""
        spans = self._store.traces.get(trace_id)
        told = LogQuery(trace_id=trace_id, event_name=open_spans.EVENT_NAME, limit=_MAX_OPEN_RECORDS)
        records = self._store.logs.find(told)
        return [*spans, *open_spans.open_spans(records, {span.span_id for span in spans})] if records else spans


_READERS: WeakKeyDictionary[Store, TraceReader] = WeakKeyDictionary()


def reader_of(store: Store) -> TraceReader:
    """The one reader of a store."""
    reader = _READERS.get(store)
    return reader or _READERS.setdefault(store, TraceReader(store))


def read_spans(spans: Sequence[Span], slots: Mapping[str, int]) -> TraceReading:
    """Everything the page shows of a trace; `spans` is not empty, `slots` are the services' colour numbers."""
    tree = build_tree(spans)
    origin_ns, _ = believable_range(spans)
    root_start_ns = max(origin_ns, tree.nodes[tree.root].span.start_ns)
    order = list(display_order(tree))
    failed = [index for index in order if tree.nodes[index].span.is_error]
    longest = sorted(order, key=lambda index: -tree.nodes[index].span.duration_ns)[:MAX_LINES]
    self_time = tuple((name, slots.get(name, 10), ns) for name, ns in tree.self_time_by_service())
    data = waterfall_data(tree, slots)
    payload = waterfall_json(data)

    def line(index: int) -> SpanLine:
        return _line(tree, index, root_start_ns, slots)

    return TraceReading(
        root=line(tree.root),
        start_ns=root_start_ns,
        span_count=len(spans),
        service_count=len(self_time),
        error_count=len(failed),
        orphan_count=sum(tree.nodes[root].is_orphan for root in tree.roots),
        root_count=sum(not tree.nodes[root].is_orphan for root in tree.roots),
        is_root_missing=all(tree.nodes[root].is_orphan for root in tree.roots),
        culprit=line(max(failed, key=lambda index: tree.nodes[index].depth)) if failed else None,
        self_time=self_time,
        top_operations=_top_operations(tree, self_time[0][0]),
        lines=tuple(map(line, longest)),
        open_spans=tuple(span for span in spans if span.is_open),
        ids="".join(node.span.span_id for node in tree.nodes),
        self_times_ns=array("q", (min(node.self_time_ns, 2**63 - 1) for node in tree.nodes)),
        subtree_ends=array("q", (node.end_of_subtree for node in tree.nodes)),
        payload=payload,
        revision=hashlib.blake2b(payload, digest_size=8).hexdigest(),
    )


def _line(tree: TraceTree, index: int, root_start_ns: int, slots: Mapping[str, int]) -> SpanLine:
    node = tree.nodes[index]
    span: Span = node.span
    return SpanLine(
        span_id=span.span_id,
        operation=span.name,
        service=span.service,
        slot=slots.get(span.service, 10),
        start_ns=span.start_ns - root_start_ns,
        duration_ns=span.duration_ns,
        self_time_ns=node.self_time_ns,
        is_error=span.is_error,
        status_message=span.status_message,
        http_status=http_status(span),
    )


def _top_operations(tree: TraceTree, service: str) -> tuple[tuple[str, int, int], ...]:
    times: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for node in tree.nodes:
        if node.span.service == service:
            times[node.span.name] += node.self_time_ns
            calls[node.span.name] += 1
    return tuple((name, calls[name], ns) for name, ns in times.most_common(2))
