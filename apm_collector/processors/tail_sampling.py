"""The `tail_sampling` processor: decides about whole traces once their spans had time to arrive.

Spans that wait lie in a spool on disk before their request is answered; see docs/adr/006-tail-sampling-spools.md.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from apm_collector.config_keys import ConfigKeyError, Keys
from apm_collector.errors import CollectorError, PermanentError, StartError, TransientError
from apm_collector.items import scopes
from apm_collector.pipeline import Consumer, ProcessorSettings
from apm_collector.sampling import (
    NEVER,
    Policy,
    RateLimit,
    Trace,
    always,
    both,
    either,
    has_status,
    lasts,
    raise_threshold,
    randomness_of,
    share,
)
from apm_collector.spool import Segment, Spool
from apm_store.model import Batch, Signal

_log = logging.getLogger(__name__)

KEYS = {
    "decision_wait": "time from the first span of a trace to the decision about it",
    "num_traces": "traces that may wait; beyond that the oldest is decided early",
    "policies.name": "name of a policy; a trace is kept when any policy wants it",
    "policies.type": "`always_sample`, `status_code`, `latency`, `probabilistic`, `rate_limiting` or `and`",
    "policies.status_code.status_codes": "any of `ERROR`, `OK`, `UNSET`, which some span of the trace must have",
    "policies.latency.threshold_ms": "keep traces that last at least so long, from first start to last end",
    "policies.latency.upper_threshold_ms": "keep only traces that last longer than the threshold and at most so long",
    "policies.probabilistic.sampling_percentage": "share of all traces that is kept",
    "policies.rate_limiting.spans_per_second": "spans that are kept per second",
    "policies.and.and_sub_policy": "a list of policies, all of which must want a trace",
}
SIGNALS = (Signal.TRACES,)
_STATUS_CODES = {"UNSET": 0, "OK": 1, "ERROR": 2}
_MAX_HELD_BYTES = 64 * 1024 * 1024
_MAX_BATCH_BYTES = 4 * 1024 * 1024
_ROUND_S = 1.0


@dataclass(frozen=True, slots=True)
class TailSamplingConfig:
    """`policies` makes the policies anew, for they may have a state."""

    decision_wait_s: float
    num_traces: int
    policies: Callable[[], Policy]

    def build(self, following: Consumer, component_id: str, settings: ProcessorSettings) -> Consumer:
        """The processor."""
        return TailSamplingProcessor(self, following, component_id, settings)


def read_config(value: Any, path: str) -> TailSamplingConfig:
    """The processor's section; raises ConfigKeyError."""
    keys = Keys(value, path, ("decision_wait", "num_traces", "policies"), needed="it")
    makers = _read_policies(keys, "policies")
    return TailSamplingConfig(
        decision_wait_s=keys.duration_s("decision_wait", "30s", low="100ms", high="10m"),
        num_traces=keys.integer("num_traces", 50_000, 1, 1_000_000),
        policies=lambda: either([make() for make in makers]),
    )


def _read_policies(keys: Keys, key: str) -> list[Callable[[], Policy]]:
    makers = list(keys.each(key, _read_policy))
    if not makers:
        raise keys.fault(key, "a list of policies")
    return makers


def _read_policy(value: Any, path: str) -> Callable[[], Policy]:
    types = ("always_sample", "status_code", "latency", "probabilistic", "rate_limiting", "and")
    keys = Keys(value, path, ("name", "type", *types), needed="it")
    keys.text("name")
    kind = keys.choice("type", "", types)
    for key in keys.values:
        if key not in ("name", "type", kind):
            raise ConfigKeyError(f"{path}.{key}", f"it does not go with the type {kind}")
    if kind == "status_code":
        names = keys.section(kind, ("status_codes",), needed="it").texts("status_codes")
        if not names or not set(names) <= set(_STATUS_CODES):
            raise ConfigKeyError(f"{path}.{kind}.status_codes", "a list of ERROR, OK and UNSET is needed")
        codes = frozenset(_STATUS_CODES[name] for name in names)
        return lambda: has_status(codes)
    if kind == "latency":
        bounds = keys.section(kind, ("threshold_ms", "upper_threshold_ms"), needed="it")
        low, high = (bounds.integer(key, 0, 0, 86_400_000) for key in ("threshold_ms", "upper_threshold_ms"))
        return lambda: lasts(low, high)
    if kind == "probabilistic":
        section = keys.section(kind, ("sampling_percentage",), needed="it")
        percentage = section.number("sampling_percentage", 0, 0, 100)
        return lambda: share(percentage)
    if kind == "rate_limiting":
        rate = keys.section(kind, ("spans_per_second",), needed="it").integer("spans_per_second", 0, 1, 10**9)
        return lambda: RateLimit(rate)
    if kind == "and":
        makers = _read_policies(keys.section(kind, ("and_sub_policy",), needed="it"), "and_sub_policy")
        return lambda: both([make() for make in makers])
    return lambda: always


@dataclass(frozen=True, slots=True)
class _Fragment:
    """Spans of one trace: as a serialised request, and the segment of the spool that has them too."""

    body: bytes
    spans: int
    segment: Segment


@dataclass(slots=True)
class _Held:
    """A trace that waits for the decision."""

    trace: Trace
    due_s: float
    fragments: list[_Fragment] = field(default_factory=list)


class TailSamplingProcessor:
    """A Consumer that answers once spans are decided or in the spool, and hands on what is kept of them.

    Its state: the traces that wait, in the order in which they began; the latest decisions, which hold for spans that
    come late; and what was decided but could not be handed on yet.
    """

    def __init__(
        self,
        config: TailSamplingConfig,
        following: Consumer,
        component_id: str,
        settings: ProcessorSettings,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._following = following
        self._settings = settings
        self._reason = f"{component_id}: not sampled"
        self._refused = f"{component_id}: refused by the exporter"
        directory = settings.spool_dir / component_id.replace("/", "-")
        try:
            self._spool = Spool(directory)
        except OSError as error:
            raise StartError(f"{directory} cannot be made, where {component_id} keeps what waits: {error}") from error
        self._monotonic_s = monotonic_s
        self._policy = config.policies()
        self._lock = threading.Lock()
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        self._held_bytes = 0
        self._decided: OrderedDict[bytes, int] = OrderedDict()
        self._undelivered: list[list[_Fragment]] = []
        self._last_round_s = monotonic_s()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Take up what an earlier process held, and begin to decide."""
        try:
            for body in self._spool.replay():
                batch = _as_batch(body)
                self._settings.on_replayed(Signal.TRACES, batch.item_count)
                self.consume(batch)
        except (CollectorError, OSError) as error:
            _log.warning("Spans of an earlier run wait in %s for the next start: %s", self._spool.directory, error)
        self._thread = threading.Thread(target=self._run, name="tail sampling", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Decide about all traces now; what cannot be handed on stays in the spool."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self.decide(everything=True)
        self._spool.close()

    def consume(self, batch: Batch) -> None:
        """Hand on, drop or hold each span of a batch; returns when what is held is durable.

        Raises TransientError when it cannot be written, or what the following Consumer raises for late spans.
        """
        requests = _by_trace(batch)
        try:
            with self._lock:
                late = self._take_late(requests)
                segment = self._hold(requests) if requests else None
                early = self._judge(list(self._overflow()))
            if segment is not None:
                self._spool.sync(segment)
        except OSError as error:
            raise TransientError(f"Spans that wait for a sampling decision cannot be written: {error}") from error
        if late:
            self._following.consume(_as_batch(b"".join(late)))
        self._hand_on(early)
        if self._stopping.is_set():
            self.decide(everything=True)

    def decide(self, *, everything: bool = False) -> None:
        """Decide about the traces that are due, or about all, and hand on what is kept."""
        with self._lock:
            now_s = self._monotonic_s()
            due = []
            while self._held and (everything or next(iter(self._held.values())).due_s <= now_s):
                due.append(self._held.popitem(last=False))
            kept = self._judge(due)
        self._hand_on(kept)

    def _run(self) -> None:
        while not self._stopping.wait(min(_ROUND_S, self._config.decision_wait_s)):
            self.decide()

    def _take_late(self, requests: dict[bytes, Any]) -> list[bytes]:
        """Take out the spans of decided traces; gives those that are kept, and drops the others."""
        late = []
        for trace_id in [one for one in requests if one in self._decided]:
            request, threshold = requests.pop(trace_id), self._decided[trace_id]
            if threshold == NEVER:
                self._drop(sum(1 for _ in _spans(request)), self._reason)
            else:
                late.append(_marked(request, threshold).SerializeToString())
        return late

    def _hold(self, requests: dict[bytes, Any]) -> Segment:
        """Write requests to the spool, and let their traces wait."""
        bodies = [request.SerializeToString() for request in requests.values()]
        segment = self._spool.append(bodies)
        due_s = self._monotonic_s() + self._config.decision_wait_s
        for (trace_id, request), body in zip(requests.items(), bodies, strict=True):
            spans = list(_spans(request))
            held = self._held.get(trace_id)
            if held is None:
                held = self._held[trace_id] = _Held(Trace(randomness_of(spans[0])), due_s)
            for span in spans:
                held.trace.add(span)
            held.fragments.append(_Fragment(body, len(spans), segment))
            self._held_bytes += len(body)
        return segment

    def _overflow(self) -> Iterator[tuple[bytes, _Held]]:
        """The oldest traces, as many as there are too many or too large to wait."""
        held_bytes = self._held_bytes
        while len(self._held) > self._config.num_traces or held_bytes > _MAX_HELD_BYTES:
            trace_id, held = self._held.popitem(last=False)
            held_bytes -= sum(len(fragment.body) for fragment in held.fragments)
            yield trace_id, held

    def _judge(self, due: Sequence[tuple[bytes, _Held]]) -> list[_Fragment]:
        """Decide about traces that were taken out; gives the spans of those that are kept, and drops the others."""
        if not due:
            return []
        now_s = self._monotonic_s()
        thresholds = self._policy([held.trace for _, held in due], now_s - self._last_round_s)
        self._last_round_s = now_s
        kept = []
        for (trace_id, held), threshold in zip(due, thresholds, strict=True):
            is_kept = held.trace.randomness >= threshold
            self._decided[trace_id] = threshold if is_kept else NEVER
            self._held_bytes -= sum(len(fragment.body) for fragment in held.fragments)
            if is_kept:
                kept += [_marked_fragment(fragment, threshold) for fragment in held.fragments]
            else:
                self._drop(held.trace.spans, self._reason)
                self._release(held.fragments)
        while len(self._decided) > 2 * self._config.num_traces:
            self._decided.popitem(last=False)
        return kept

    def _hand_on(self, kept: Sequence[_Fragment]) -> None:
        """Have the following Consumer take spans, and those that it could not take before; what fails stays."""
        with self._lock:
            batches, self._undelivered = [*self._undelivered, *_packed(kept)], []
        for index, fragments in enumerate(batches):
            try:
                self._following.consume(_as_batch(b"".join(fragment.body for fragment in fragments)))
            except PermanentError:
                self._drop(sum(fragment.spans for fragment in fragments), self._refused)
            except CollectorError:
                with self._lock:
                    self._undelivered += batches[index:]
                return
            self._release(fragments)

    def _release(self, fragments: Sequence[_Fragment]) -> None:
        for fragment in fragments:
            self._spool.release(fragment.segment)

    def _drop(self, spans: int, reason: str) -> None:
        self._settings.on_dropped(Signal.TRACES, reason, spans)


def _spans(request: Any) -> Iterator[Any]:
    for _, _, spans in scopes(Signal.TRACES, request):
        yield from spans


def _as_batch(body: bytes) -> Batch:
    """The batch of a serialised request, parsed anew each time, for a Consumer may change it."""
    request = ExportTraceServiceRequest.FromString(body)
    return Batch(Signal.TRACES, request, body, sum(1 for _ in _spans(request)))


def _by_trace(batch: Batch) -> dict[bytes, Any]:
    """The spans of a batch as one request per trace."""
    requests: defaultdict[bytes, Any] = defaultdict(ExportTraceServiceRequest)
    for resource_spans in batch.request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            traces = defaultdict(list)
            for span in scope_spans.spans:
                traces[span.trace_id].append(span)
            for trace_id, spans in traces.items():
                part = requests[trace_id].resource_spans.add(schema_url=resource_spans.schema_url)
                if resource_spans.HasField("resource"):
                    part.resource.CopyFrom(resource_spans.resource)
                inner = part.scope_spans.add(schema_url=scope_spans.schema_url, spans=spans)
                if scope_spans.HasField("scope"):
                    inner.scope.CopyFrom(scope_spans.scope)
    return dict(requests)


def _marked(request: Any, threshold: int) -> Any:
    """A request whose spans say with which threshold they were kept."""
    if threshold:
        for span in _spans(request):
            span.trace_state = raise_threshold(span.trace_state, threshold)
    return request


def _marked_fragment(fragment: _Fragment, threshold: int) -> _Fragment:
    if not threshold:
        return fragment
    request = _marked(ExportTraceServiceRequest.FromString(fragment.body), threshold)
    return _Fragment(request.SerializeToString(), fragment.spans, fragment.segment)


def _packed(fragments: Sequence[_Fragment]) -> list[list[_Fragment]]:
    """Fragments in groups, each of which makes a batch of a few MiB."""
    groups: list[list[_Fragment]] = []
    size = _MAX_BATCH_BYTES
    for fragment in fragments:
        if size >= _MAX_BATCH_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(fragment)
        size += len(fragment.body)
    return groups
