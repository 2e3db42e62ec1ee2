"""Measurements are taken down where they are made and added up later: the SDK looks their series up anew each time.

Taken over are measurements whose attributes have been seen before on the same instrument; the SDK takes all others.
They are added up before anybody reads them, before a fork, and when many wait.
"""

import math
import os
import sys
from _thread import allocate_lock
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from opentelemetry.context import Context
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    MeterProvider,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics._internal import instrument as sdk
from opentelemetry.sdk.metrics._internal._view_instrument_match import _hash_attributes
from opentelemetry.sdk.metrics._internal.aggregation import _ExplicitBucketHistogramAggregation, _SumAggregation
from opentelemetry.sdk.metrics._internal.exemplar import AlignedHistogramBucketExemplarReservoir
from opentelemetry.sdk.metrics._internal.measurement import Measurement
from opentelemetry.sdk.metrics._internal.measurement_consumer import SynchronousMeasurementConsumer
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace.propagation import _SPAN_KEY

from otel_agent.attribute_values import CleanAttributes
from otel_agent.background import BackgroundThread
from otel_agent.current_context import get_current, with_span

# The attribute of an instrument that holds the series known, by key.
_KNOWN = "_spanwise_series"
_MOST_KNOWN = 1_000
# From so many that wait on, they are added up in the background; from so many more on, by whoever measures.
_MANY, _TOO_MANY = 4_000, 20_000
_IDLE_S = 3600.0
# How long to wait for another who adds up: it could be a call of one's own that a signal has interrupted.
_PATIENCE_S = 1.0
# Hashing and comparing these runs none of the host's code.
_PLAIN = frozenset({str, int, bool, float})

Key = tuple[tuple[tuple[str, object], ...], tuple[type, ...]]


class _Series(NamedTuple):
    """What the measurements with certain attributes are added to, as long as the provider has the same readers."""

    attributes: dict[str, Any]
    aggregations: tuple[Any, ...]
    storages: object
    consumer: Any
    instrument: Any
    is_exemplar: Callable[[SpanContext | None], bool]


# What is taken down of a measurement: its series, its amount, its time, and of its context no more than the span.
_Taken = tuple[_Series, float, int, SpanContext | None]

# The filters of exemplars that ask for nothing but the span, and what they answer.
_FILTERS: dict[type, Callable[[SpanContext | None], bool]] = {
    AlwaysOffExemplarFilter: lambda _span: False,
    AlwaysOnExemplarFilter: lambda _span: True,
    TraceBasedExemplarFilter: lambda span: span is not None and bool(span.trace_flags & TraceFlags.SAMPLED),
}

_waiting: deque[_Taken] = deque()
_adding_up = allocate_lock()


def _key(attributes: Any) -> Key | None:
    """Return what tells these attributes from others; 1, 1.0 and True are equal, and yet they are not the same."""
    if not attributes:
        return (), ()
    kind = type(attributes)
    if kind is not dict and kind is not CleanAttributes:
        return None
    types = tuple(map(type, attributes.values()))
    return (tuple(attributes.items()), types) if _PLAIN.issuperset(types) else None


def _recall(instrument: Any, attributes: Any) -> _Series | None:
    """Return what measurements with these attributes are added to, if the SDK has taken one before."""
    known: dict[Key | None, _Series] | None = getattr(instrument, _KNOWN, None)
    series = known.get(_key(attributes)) if known else None
    if series is not None and type(attributes) is CleanAttributes:
        attributes.series[instrument] = series
    return series


def _lean(official: Callable[..., None], least: float) -> Callable[..., None]:
    """Return what stands in for `record` or `add`, whose amounts must not be below `least`."""

    def measure(self: Any, amount: float, attributes: Any = None, context: Context | None = None) -> None:
        series: _Series | None = attributes.series.get(self) if type(attributes) is CleanAttributes else None
        series, config = series or _recall(self, attributes), self._meter_config
        above: Any = (get_current() if context is None else context).get(_SPAN_KEY)
        span = None if above is None else getattr(above, "_context", above)
        if (
            series is None
            or (span is not None and type(span) is not SpanContext)
            or series.storages is not series.consumer._reader_storages
            or not least <= amount < math.inf
            or not (config is None or config.is_enabled)
        ):
            official(self, amount, attributes, context)
            _learn(self, attributes, context)
            return
        _waiting.append((series, amount, vars(sdk)["time_ns"](), span))
        if len(_waiting) >= _MANY:
            _relieve()

    return measure


def _learn(instrument: Any, attributes: Any, context: Context | None) -> None:
    """Remember the series of a measurement that the SDK has just taken."""
    known, key = instrument.__dict__.setdefault(_KNOWN, {}), _key(attributes)
    if key is None or len(known) >= _MOST_KNOWN:
        return
    consumer = instrument._measurement_consumer
    storages, is_exemplar = consumer._reader_storages, _FILTERS.get(type(consumer._sdk_config.exemplar_filter))
    if is_exemplar is None:
        return
    clean: Any = Measurement(0, 0, instrument, context or get_current(), attributes).attributes or {}
    aggregations = []
    for storage in storages.values():
        for match in storage._get_or_init_view_instrument_match(instrument):
            kept = match._view._attribute_keys
            own = clean if kept is None else {name: value for name, value in clean.items() if name in kept}
            aggregation = match._attributes_aggregation.get(_hash_attributes(own))
            if aggregation is None:  # the SDK did not take it
                return
            aggregations.append(aggregation)
    known[key] = _Series(dict(clean), tuple(aggregations), storages, consumer, instrument, is_exemplar)
    _recall(instrument, attributes)


def add_up() -> None:
    """Add up all that waits, as the SDK does; while another thread does it, wait for that."""
    if _adding_up.acquire(timeout=_PATIENCE_S):
        try:
            _add_up()
        finally:
            _adding_up.release()


def _add_up() -> None:
    while _waiting:
        batches: defaultdict[int, list[_Taken]] = defaultdict(list)
        for taken in [_waiting.popleft() for _ in range(min(len(_waiting), _MANY))]:
            batches[id(taken[0])].append(taken)
        for batch in batches.values():
            series = batch[0][0]
            for aggregation in series.aggregations:
                _way_to_add(aggregation)(series, aggregation, batch)


def _way_to_add(aggregation: Any) -> Callable[[_Series, Any, list[_Taken]], None]:
    """Return what adds a batch to it; sums, and histograms that keep the last exemplar of a bucket, have short ways."""
    kind = type(aggregation)
    if kind is _SumAggregation:
        return _add_to_sum
    if kind is _ExplicitBucketHistogramAggregation:
        is_plain = type(aggregation._reservoir) is AlignedHistogramBucketExemplarReservoir
        return _add_to_histogram if is_plain else _add_officially
    return _add_officially


def _add_officially(series: _Series, aggregation: Any, batch: list[_Taken]) -> None:
    for _, amount, time_ns, span in batch:
        measurement: Any = object.__new__(Measurement)
        measurement.__dict__.update(
            value=amount,
            time_unix_nano=time_ns,
            instrument=series.instrument,
            context=_context_of(span),
            attributes=series.attributes,
        )
        aggregation.aggregate(measurement, series.is_exemplar(span))


def _add_to_sum(series: _Series, aggregation: Any, batch: list[_Taken]) -> None:
    """Add a batch at once, and offer as exemplars those that the filter lets pass."""
    with aggregation._lock:
        value = aggregation._value or 0
        for _, amount, _, _ in batch:  # unlike `sum`, whose way with floats depends on Python's version
            value += amount
        aggregation._value = value
    for taken in batch:
        if series.is_exemplar(taken[-1]):
            _offer(aggregation, taken)


def _add_to_histogram(series: _Series, aggregation: Any, batch: list[_Taken]) -> None:
    """Add a batch at once, and offer as exemplars those alone that later ones would not replace."""
    bounds, amounts = aggregation._boundaries, [taken[1] for taken in batch]
    buckets = [bisect_left(bounds, amount) for amount in amounts]
    with aggregation._lock:
        if aggregation._value is None:
            aggregation._value = aggregation._get_empty_bucket_counts()
        for bucket, count in Counter(buckets).items():
            aggregation._value[bucket] += count
        aggregation._sum += sum(amounts)
        if aggregation._record_min_max:
            aggregation._min, aggregation._max = min(aggregation._min, *amounts), max(aggregation._max, *amounts)
    for taken in _last_exemplars(series, buckets, batch):
        _offer(aggregation, taken)


def _last_exemplars(series: _Series, buckets: list[int], batch: list[_Taken]) -> Iterator[_Taken]:
    """Give the last measurement of each bucket that the filter lets pass, which is mostly the last of all there."""
    for bucket, last in dict(zip(buckets, batch, strict=True)).items():
        if series.is_exemplar(last[-1]):
            yield last
        else:
            backward = zip(reversed(buckets), reversed(batch), strict=True)
            yield from islice((one for its, one in backward if its == bucket and series.is_exemplar(one[-1])), 1)


def _offer(aggregation: Any, taken: _Taken) -> None:
    series, amount, time_ns, span = taken
    aggregation._reservoir.offer(amount, time_ns, series.attributes, _context_of(span))


def _context_of(span: SpanContext | None) -> Context:
    return Context() if span is None or not span.is_valid else with_span(NonRecordingSpan(span), Context())


def _add_up_in_background(_is_last: bool) -> float:
    add_up()
    return _IDLE_S


_thread = BackgroundThread("Measurements", _add_up_in_background, lambda: bool(_waiting), _IDLE_S)


def _relieve() -> None:
    """Have what waits added up; here only where the background cannot keep up, and nobody is at it already."""
    _thread.start()
    _thread.wake()
    if len(_waiting) >= _TOO_MANY and _adding_up.acquire(blocking=False):
        try:
            _add_up()
        finally:
            _adding_up.release()


def _collecting(official: Callable[..., Any]) -> Callable[..., Any]:
    """Return what stands in for `collect`: whoever reads finds everything added up."""

    def collect(self: Any, *args: Any, **kwargs: Any) -> Any:
        add_up()
        return official(self, *args, **kwargs)

    return collect


def install() -> None:
    """Make all instruments measure in this way; AttributeError where those of the SDK are of another kind."""
    replaced: tuple[tuple[Any, str, Callable[..., Callable[..., Any]]], ...] = (
        (sdk.Histogram, "record", lambda official: _lean(official, 0.0)),
        (sdk.Counter, "add", lambda official: _lean(official, 0.0)),
        (sdk.UpDownCounter, "add", lambda official: _lean(official, -sys.float_info.max)),
        (SynchronousMeasurementConsumer, "collect", _collecting),
    )
    officials = [getattr(owner, name) for owner, name, _ in replaced]
    is_right = False
    try:
        for (owner, name, lean), official in zip(replaced, officials, strict=True):
            setattr(owner, name, lean(official))
        is_right = _is_right()
    finally:
        for (owner, name, _), official in () if is_right else zip(replaced, officials, strict=True):
            setattr(owner, name, official)
    if not is_right:
        raise AttributeError("the SDK measures in another way")
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=add_up, after_in_child=_begin_anew)


def _begin_anew() -> None:
    """In a forked child nobody adds up any more, and what another thread has measured meanwhile is the parent's."""
    global _adding_up  # noqa: PLW0603 - a lock that is held by a thread that the child does not have is of no use
    _adding_up = allocate_lock()
    _waiting.clear()


def _is_right() -> bool:
    """Measure three times, the second and third in our own way, and tell whether the SDK has all of them."""
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], Resource.get_empty(), shutdown_on_exit=False).get_meter(__name__)
    histogram = meter.create_histogram("trial")
    for _ in range(3):
        histogram.record(1, {"a": "b"})
    data: Any = reader.get_metrics_data()
    count: int = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0].count
    return count == 3 and bool(vars(histogram).get(_KNOWN))
