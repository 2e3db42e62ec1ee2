"""Measurements that are taken down where they are made and added up later."""

import math

import pytest
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    MeterProvider,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics._internal.measurement_consumer import SynchronousMeasurementConsumer
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from otel_agent import lean_measurements
from otel_agent.attribute_values import CleanAttributes


@pytest.fixture
def lean(monkeypatch):
    """Return a function that makes a counter of a provider measure in the lean way."""
    collect = lean_measurements._collecting(SynchronousMeasurementConsumer.collect)
    monkeypatch.setattr(SynchronousMeasurementConsumer, "collect", collect)

    def make(**settings):
        counter = MeterProvider(shutdown_on_exit=False, **settings).get_meter("a").create_counter("b")
        official = counter.add
        measure = lean_measurements._lean(lambda _self, *arguments: official(*arguments), 0.0)
        return lambda amount, attributes=None: measure(counter, amount, attributes)

    return make


def points(reader):
    """Return (attributes, value) of all data points."""
    metric = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0]
    return sorted(((dict(point.attributes), point.value) for point in metric.data.data_points), key=str)


def test_every_reader_has_all_measurements(lean):
    """Two readers read the same sum."""
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    add = lean(metric_readers=readers)
    for _ in range(5):
        add(2, {"a": "b"})

    assert [points(reader) for reader in readers] == [[({"a": "b"}, 10)]] * 2


def test_view_keeps_its_attributes(lean):
    """A view that drops an attribute adds up what differed by it alone."""
    reader = InMemoryMetricReader()
    add = lean(metric_readers=[reader], views=[View(instrument_name="b", attribute_keys={"a"})])
    for number in (1, 2, 1, 2, 1):
        add(1, {"a": "b", "c": number})

    assert points(reader) == [({"a": "b"}, 5)]


def test_series_without_end_are_the_sdks(lean, monkeypatch):
    """From a number of series on, the SDK takes further ones itself; none is lost."""
    monkeypatch.setattr(lean_measurements, "_MOST_KNOWN", 3)
    reader = InMemoryMetricReader()
    add = lean(metric_readers=[reader])
    for number in range(6):
        for _ in range(2):
            add(1, {"number": number})

    assert [value for _, value in sorted(points(reader), key=str)] == [2] * 6


def test_attributes_are_copied(lean):
    """A dict that the host changes afterwards changes nothing that was measured."""
    reader = InMemoryMetricReader()
    add, attributes = lean(metric_readers=[reader]), {"a": "b"}
    add(1, attributes)
    add(1, attributes)
    attributes["a"] = "c"
    add(1, attributes)

    assert sorted(points(reader), key=str) == [({"a": "b"}, 2), ({"a": "c"}, 1)]


def test_attributes_known_to_be_clean_are_looked_at_once(lean):
    """Clean attributes count with others of the same content, and those of the same look but another type do not."""
    reader = InMemoryMetricReader()
    add, clean = lean(metric_readers=[reader]), CleanAttributes({"a": 1})
    for attributes in (clean, {"a": 1}, clean, {"a": True}, clean):
        add(1, attributes)

    assert sorted(points(reader), key=str) == [({"a": 1}, 4), ({"a": True}, 1)]
    assert [series.attributes for series in clean.series.values()] == [{"a": 1}]


def test_a_reader_that_comes_later_has_what_is_measured_then():
    """Clean attributes do not hold on to what their measurements were added to before the provider got it."""
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    provider = MeterProvider([readers[0]], shutdown_on_exit=False)
    counter, clean = provider.get_meter("a").create_counter("b"), CleanAttributes({"a": 1})
    add = lean_measurements._lean(type(counter).add, 0.0)
    for _ in range(3):
        add(counter, 1, clean)
    lean_measurements.add_up()
    provider.add_metric_reader(readers[1])
    for _ in range(3):
        add(counter, 1, clean)
    waiting = len(lean_measurements._waiting)
    lean_measurements.add_up()

    assert waiting == 2  # the SDK has taken the first of them
    assert [points(reader) for reader in readers] == [[({"a": 1}, 6)], [({"a": 1}, 3)]]


def test_when_many_wait_they_are_added_up(lean, monkeypatch):
    """Nobody has to read for the measurements that wait to stay within a bound; none is lost."""
    monkeypatch.setattr(lean_measurements, "_MANY", 10)
    monkeypatch.setattr(lean_measurements, "_TOO_MANY", 20)
    reader = InMemoryMetricReader()
    add, most = lean(metric_readers=[reader]), 0
    for _ in range(500):
        add(1)
        most = max(most, len(lean_measurements._waiting))

    assert most <= 20
    assert points(reader) == [({}, 500)]


def test_a_measurement_within_another_is_not_lost(lean, monkeypatch):
    """What a signal handler or a finalizer measures while measurements are added up is added too, and nobody waits."""
    reader = InMemoryMetricReader()
    add = lean(metric_readers=[reader])
    add(1)
    original = lean_measurements._add_up

    def interrupted():
        monkeypatch.setattr(lean_measurements, "_add_up", original)
        monkeypatch.setattr(lean_measurements, "_PATIENCE_S", 0.01)
        add(1)
        lean_measurements.add_up()
        original()

    monkeypatch.setattr(lean_measurements, "_add_up", interrupted)

    assert points(reader) == [({}, 2)]


FILTERS = [TraceBasedExemplarFilter(), AlwaysOnExemplarFilter(), AlwaysOffExemplarFilter()]


def measured(is_lean, filter_, kind, amounts, **advisory):
    """Return what a reader has of sixty measurements, every second one of them in a span that is sampled."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], exemplar_filter=filter_, shutdown_on_exit=False)
    instrument = getattr(provider.get_meter("a"), f"create_{kind}")("b", **advisory)
    official = type(instrument).record if kind == "histogram" else type(instrument).add
    measure = lean_measurements._lean(official, -math.inf) if is_lean else official
    for number in range(60):
        flags = TraceFlags.DEFAULT if number % 2 else TraceFlags.SAMPLED
        span = NonRecordingSpan(SpanContext(7, 10 + number, False, TraceFlags(flags)))
        measure(instrument, amounts[number % len(amounts)], {"c": "d"}, set_span_in_context(span))
    lean_measurements.add_up()
    (point,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    return point


@pytest.mark.parametrize("filter_", FILTERS)
def test_a_histogram_says_what_the_sdks_says(filter_):
    """Counts, sum, extremes and the exemplar of each bucket are those of a histogram that adds up one by one."""
    said = []
    for is_lean in (False, True):
        point = measured(is_lean, filter_, "histogram", range(7), explicit_bucket_boundaries_advisory=(1, 2, 4))
        exemplars = [(one.value, one.span_id, one.trace_id, one.filtered_attributes) for one in point.exemplars]
        said.append((point.bucket_counts, point.count, point.sum, point.min, point.max, exemplars))

    assert said[0] == said[1]
    assert len(said[1][-1]) == (0 if isinstance(filter_, AlwaysOffExemplarFilter) else 4)


@pytest.mark.parametrize("kind", ["counter", "up_down_counter"])
@pytest.mark.parametrize("filter_", FILTERS)
def test_a_sum_says_what_the_sdks_says(filter_, kind):
    """The value is the same, to the last bit; of the spans that the filter lets pass, chance picks one as exemplar."""
    amounts = (0.1, 0.2, 3) if kind == "counter" else (1, -0.7)
    official, lean = (measured(is_lean, filter_, kind, amounts) for is_lean in (False, True))

    assert lean.value == official.value
    passes = {AlwaysOffExemplarFilter: range(0), TraceBasedExemplarFilter: range(10, 70, 2)}.get(
        type(filter_), range(10, 70)
    )
    assert {one.span_id for one in lean.exemplars} <= set(passes)
    assert len(lean.exemplars) == len(official.exemplars) == bool(passes)
