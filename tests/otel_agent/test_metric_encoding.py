"""Metrics as bytes: the same as the official encoder's."""

import math
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics as official
from opentelemetry.exporter.otlp.proto.http import metric_exporter
from opentelemetry.metrics import Observation
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import (
    AlwaysOnExemplarFilter,
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    InMemoryMetricReader,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_agent.metric_encoding import EncodedMetrics, encode_metrics

ATTRIBUTES: list[dict[str, Any]] = [
    {},
    {"text": "ä€😀", "empty": "", "long": "x" * 1000},
    {"one": 1, "below": -1, "yes": True, "part": 0.5},
    {"one": True},
    {"one": 1.0},
    {"list": ["a", "b"], "bytes": b"\x00\xff"},
]
RESOURCE = Resource({"service.name": "a", "n": 3}, "https://example.org/1")


@pytest.fixture(params=list(AggregationTemporality)[1:], ids=["delta", "cumulative"])
def reader(request) -> InMemoryMetricReader:
    """Return the reader of `meters`, of either temporality."""
    kinds: Any = dict.fromkeys((Counter, UpDownCounter, Histogram, ObservableCounter), request.param)
    return InMemoryMetricReader(kinds)


@pytest.fixture
def meters(reader) -> MeterProvider:
    """Return a provider that takes an exemplar of every measurement, and makes one histogram exponential."""
    views = [View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation())]
    return MeterProvider(
        [reader], RESOURCE, shutdown_on_exit=False, exemplar_filter=AlwaysOnExemplarFilter(), views=views
    )


def same(data: Any) -> bool:
    encoded = encode_metrics(data)
    decoded = ExportMetricsServiceRequest.FromString(encoded.SerializePartialToString())
    assert encoded.point_count == metric_exporter._count_data_points(decoded)
    return bool(decoded == official(data)) and len(decoded.resource_metrics) > 0


@pytest.mark.parametrize("value", [0, 1, -5, 2**61, 0.5, -0.0, 1e300])
def test_numbers(meters, reader, value):
    """Whole and other numbers, added, counted down, measured and observed."""
    meter = meters.get_meter("a", "1.0", "https://example.org/2", {"b": 1})
    counter, level = meter.create_counter("counter", "By", "What."), meter.create_up_down_counter("level")
    gauge = meter.create_gauge("gauge", description="ä")
    observations = [Observation(value, attributes) for attributes in ATTRIBUTES]
    meter.create_observable_counter("observed.counter", [lambda _: observations], "1")
    meter.create_observable_up_down_counter("observed.level", [lambda _: observations])
    meter.create_observable_gauge("observed.gauge", [lambda _: observations])
    for _ in range(2):  # the second time from what is known
        for attributes in ATTRIBUTES:
            counter.add(abs(value), attributes)
            level.add(value, attributes)
            gauge.set(value, attributes)

        assert same(reader.get_metrics_data())


@pytest.mark.parametrize("boundaries", [None, [], [1], [0.1, 0.5, 1]])
@pytest.mark.parametrize("values", [[0], [1, 2, 3], [0.05, 1e9, 7]])
def test_histograms(meters, reader, boundaries, values):
    """With the usual buckets, other ones and none; and exponential ones."""
    meter = meters.get_meter("a")
    made = meter.create_histogram("usual", "s", "How long.", explicit_bucket_boundaries_advisory=boundaries)
    exponential = meter.create_histogram("exponential")
    for value in values:
        for attributes in ATTRIBUTES:
            made.record(value, attributes)
            exponential.record(value, attributes)

    assert same(reader.get_metrics_data())


def test_exemplars_name_their_span(meters, reader):
    """A measurement within a span goes out with the ids of both, one outside of it without."""
    histogram, counter = meters.get_meter("a").create_histogram("b"), meters.get_meter("a").create_counter("c")
    with TracerProvider(shutdown_on_exit=False).get_tracer("a").start_as_current_span("b"):
        histogram.record(5, {"a": "b"})
        counter.add(0.5)
    counter.add(1, {"c": "d"})

    assert same(reader.get_metrics_data())


def test_scopes_without_and_with_everything(meters, reader):
    """Metrics are told by scope, whatever a scope says of itself."""
    for arguments in (("a",), ("b", "1.0"), ("c", "1.0", "https://example.org/2", {"list": [1, 2]})):
        meters.get_meter(*arguments).create_counter("d").add(1)

    assert same(reader.get_metrics_data())


@pytest.mark.parametrize("value", [math.inf, math.nan, 5, 0.5])
@pytest.mark.parametrize("text", [None, ""])
def test_what_others_make(value, text):
    """Data that does not come from the SDK: no texts, no times, no attributes, no whole numbers."""
    points = [NumberDataPoint(None, 0, 0, value), NumberDataPoint({}, 0, 5, value)]
    metrics = [Metric("a", text, text, Gauge(points))]
    scopes = [ScopeMetrics(InstrumentationScope("a"), metrics, "")]
    data = MetricsData([ResourceMetrics(RESOURCE, scopes, "")])

    assert repr(ExportMetricsServiceRequest.FromString(encode_metrics(data)._encoded)) == repr(official(data))


def test_a_request_that_is_too_large_can_be_split(meters, reader):
    """The exporter looks into a request that it splits, and finds all of it."""
    counter = meters.get_meter("a").create_counter("b")
    for number in range(10):
        counter.add(1, {"number": number})
    encoded: Any = encode_metrics(reader.get_metrics_data())
    parts = list(metric_exporter._split_metrics_data(encoded, 4))

    assert isinstance(encoded, EncodedMetrics)
    assert [metric_exporter._count_data_points(part) for part in parts] == [4, 4, 2]
