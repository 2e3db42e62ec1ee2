"""Measurements as the SDK takes them, in half the time: it looks up anew at every one which series it belongs to.

Taken over are measurements whose attributes have been seen before on the same instrument; the SDK takes all others.
"""

import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics._internal import instrument as sdk
from opentelemetry.sdk.metrics._internal._view_instrument_match import _hash_attributes
from opentelemetry.sdk.metrics._internal.measurement import Measurement
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

# The attribute of an instrument that holds the series known, by key.
_KNOWN = "_spanwise_series"
_MOST_KNOWN = 1_000
# Hashing and comparing these runs none of the host's code.
_PLAIN = frozenset({str, int, bool, float})

Key = tuple[tuple[tuple[str, object], ...], tuple[type, ...]]


class _Series(NamedTuple):
    """What the measurements with certain attributes are added to, as long as the provider has the same readers."""

    attributes: dict[str, Any]
    aggregates: tuple[Callable[[Any, bool], None], ...]
    storages: object


def _key(attributes: Any) -> Key | None:
    """Return what tells these attributes from others; 1, 1.0 and True are equal, and yet they are not the same."""
    if not attributes:
        return (), ()
    if type(attributes) is not dict:
        return None
    types = tuple(map(type, attributes.values()))
    return (tuple(attributes.items()), types) if _PLAIN.issuperset(types) else None


def _measure(instrument: Any, amount: float, attributes: Any, context: Context | None) -> bool:
    """Add a measurement to its series; False if the series is not known or the instrument is switched off."""
    known, consumer = instrument.__dict__.get(_KNOWN), instrument._measurement_consumer
    series = known.get(_key(attributes)) if known else None
    if series is None or series.storages is not consumer._reader_storages or not instrument._is_enabled():
        return False
    time_ns, context = vars(sdk)["time_ns"](), get_current() if context is None else context
    is_sampled = consumer._sdk_config.exemplar_filter.should_sample(amount, time_ns, series.attributes, context)
    measurement: Any = object.__new__(Measurement)
    measurement.__dict__.update(
        value=amount, time_unix_nano=time_ns, instrument=instrument, context=context, attributes=series.attributes
    )
    for aggregate in series.aggregates:
        aggregate(measurement, is_sampled)
    return True


def _learn(instrument: Any, attributes: Any, context: Context | None) -> None:
    """Remember the series of a measurement that the SDK has just taken."""
    known, key = instrument.__dict__.setdefault(_KNOWN, {}), _key(attributes)
    if key is None or len(known) >= _MOST_KNOWN:
        return
    storages = instrument._measurement_consumer._reader_storages
    cleaned: Any = Measurement(0, 0, instrument, context or get_current(), attributes).attributes or {}
    aggregates = []
    for storage in storages.values():
        for match in storage._get_or_init_view_instrument_match(instrument):
            kept = match._view._attribute_keys
            own = cleaned if kept is None else {name: value for name, value in cleaned.items() if name in kept}
            aggregation = match._attributes_aggregation.get(_hash_attributes(own))
            if aggregation is None:  # the SDK did not take it
                return
            aggregates.append(aggregation.aggregate)
    known[key] = _Series(dict(cleaned), tuple(aggregates), storages)


def _lean(official: Callable[..., None], least: float) -> Callable[..., None]:
    """Return what stands in for `record` or `add`, whose amounts must not be below `least`."""

    def measure(self: Any, amount: float, attributes: Any = None, context: Context | None = None) -> None:
        if least <= amount < math.inf and _measure(self, amount, attributes, context):
            return
        official(self, amount, attributes, context)
        _learn(self, attributes, context)

    return measure


def install() -> None:
    """Make all instruments measure in this way; AttributeError where those of the SDK are of another kind."""
    methods: tuple[tuple[Any, str, float], ...] = (
        (sdk.Histogram, "record", 0.0),
        (sdk.Counter, "add", 0.0),
        (sdk.UpDownCounter, "add", -sys.float_info.max),
    )
    officials = [getattr(owner, name) for owner, name, _ in methods]
    is_right = False
    try:
        for (owner, name, least), official in zip(methods, officials, strict=True):
            setattr(owner, name, _lean(official, least))
        is_right = _is_right()
    finally:
        for (owner, name, _), official in () if is_right else zip(methods, officials, strict=True):
            setattr(owner, name, official)
    if not is_right:
        raise AttributeError("the SDK measures in another way")


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
