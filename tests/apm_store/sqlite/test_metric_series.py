"""One metric over time is what counting all of its points would give."""

from __future__ import annotations

import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from builders import SECOND, attribute
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from apm_store.api import Store
from apm_store.model import Batch, MetricType, Signal
from apm_store.open import open_store
from apm_store.query import MetricQuery, MetricSeriesPage, MetricSeriesQuery, MetricStep, TimeRange
from apm_store.sqlite import dictionaries, metrics
from apm_store.sqlite.writer import Writer

MakeGauge = Callable[..., Batch]
RANGE = TimeRange(0, 100 * SECOND)


def ask(step_s: int = 10, time_range: TimeRange = RANGE, **more: object) -> MetricSeriesQuery:
    """The question for the metric `memory`."""
    return MetricSeriesQuery("memory", time_range, step_s * SECOND, **more)  # type: ignore[arg-type]


def by_host(page: MetricSeriesPage) -> dict[object, list[MetricStep]]:
    """The steps of each host."""
    return {one.attributes.get("host"): list(one.steps) for one in page.series}


def test_points_are_summed_up_by_stream_and_step(store: Store, make_gauge: MakeGauge) -> None:
    """Each step has the number of its points and their least, greatest, sum and last value."""
    store.metrics.write(make_gauge([(1, 5.0, "a"), (9, 1.0, "a"), (3, 7.0, "a"), (10, 2.0, "a"), (35, 4.0, "b")]))

    page = store.metrics.series(ask())

    assert by_host(page) == {
        "a": [MetricStep(0, 3, 1.0, 7.0, 13.0, 1.0, 0), MetricStep(10 * SECOND, 1, 2.0, 2.0, 2.0, 2.0, 0)],
        "b": [MetricStep(30 * SECOND, 1, 4.0, 4.0, 4.0, 4.0, 0)],
    }
    metric = page.series[0].metric
    assert (metric.name, metric.unit, metric.type, metric.service, metric.points) == (
        "memory",
        "By",
        MetricType.GAUGE,
        "shop",
        (),
    )


def test_the_range_and_the_service_bound_the_answer(store: Store, make_gauge: MakeGauge) -> None:
    """Points outside the range are left out, though their step begins before it; so are other services."""
    store.metrics.write(make_gauge([(11, 1.0, "a"), (12, 2.0, "a"), (17, 3.0, "a"), (18, 4.0, "a")]))
    store.metrics.write(make_gauge([(15, 9.0, "a")], service="pay"))

    page = store.metrics.series(ask(time_range=TimeRange(12 * SECOND, 18 * SECOND), service="shop"))

    assert by_host(page) == {"a": [MetricStep(10 * SECOND, 2, 2.0, 3.0, 5.0, 3.0, 0)]}
    assert store.metrics.series(ask(service="nobody")) == MetricSeriesPage((), 0)
    assert store.metrics.series(ask(time_range=TimeRange(50 * SECOND, 50 * SECOND))) == MetricSeriesPage((), 0)


def test_the_streams_with_most_points_come_first(store: Store, make_gauge: MakeGauge) -> None:
    """Of more streams than asked for the emptiest are left out, and all are counted."""
    store.metrics.write(
        make_gauge([(second, 1.0, host) for host, n in (("a", 1), ("b", 3), ("c", 2)) for second in range(1, n + 1)])
    )

    page = store.metrics.series(ask(max_streams=2))

    assert list(by_host(page)) == ["b", "c"]
    assert page.total_streams == 3
    assert list(by_host(store.metrics.series(ask()))) == ["b", "c", "a"]


def test_a_value_that_is_none_is_a_gap(store: Store, make_gauge: MakeGauge) -> None:
    """NaN and points marked as not recorded count nowhere; infinity is a value."""
    batch = make_gauge([(1, math.nan, "a"), (2, 3.0, "a"), (3, 9.0, "a"), (11, math.nan, "a"), (21, math.inf, "a")])
    batch.request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[2].flags = 1
    store.metrics.write(Batch(batch.signal, batch.request, batch.request.SerializeToString(), batch.item_count))

    page = store.metrics.series(ask())

    assert by_host(page)["a"] == [
        MetricStep(0, 1, 3.0, 3.0, 3.0, 3.0, 0),
        MetricStep(20 * SECOND, 1, math.inf, math.inf, math.inf, math.inf, 0),
    ]


def distributions() -> Batch:
    """A histogram with two points, one of which does not tell its sum; a summary; and a counter of integers."""
    request = ExportMetricsServiceRequest()
    metrics_of = request.resource_metrics.add().scope_metrics.add().metrics
    histogram = metrics_of.add(name="memory").histogram
    histogram.aggregation_temporality = 1
    histogram.data_points.add(time_unix_nano=1 * SECOND, count=4, sum=10.0)
    histogram.data_points.add(time_unix_nano=11 * SECOND, count=6)
    summary = metrics_of.add(name="memory").summary
    summary.data_points.add(time_unix_nano=2 * SECOND, count=2, sum=5.0)
    counter = metrics_of.add(name="memory").sum
    counter.aggregation_temporality = 2
    counter.data_points.add(time_unix_nano=1 * SECOND, as_int=7)
    return Batch(Signal.METRICS, request, request.SerializeToString(), 4)


def test_distributions_give_their_sums_and_counts(store: Store) -> None:
    """What has no sum still counts; one name with three types is three streams."""
    store.metrics.write(distributions())

    found = {one.metric.type: one.steps for one in store.metrics.series(ask()).series}

    first, second = found[MetricType.HISTOGRAM]
    assert first == MetricStep(0, 1, 10.0, 10.0, 10.0, 10.0, 4)
    assert (second.point_count, second.value_count, math.isnan(second.sum), math.isnan(second.last)) == (
        1,
        6,
        True,
        True,
    )
    assert found[MetricType.SUMMARY] == (MetricStep(0, 1, 5.0, 5.0, 5.0, 5.0, 2),)
    assert found[MetricType.SUM] == (MetricStep(0, 1, 7.0, 7.0, 7.0, 7.0, 0),)


def test_a_step_that_is_no_time_is_refused(store: Store) -> None:
    """Zero would divide by itself."""
    with pytest.raises(ValueError, match="step_ns is 0; it must be positive"):
        store.metrics.series(ask(0))


def test_streams_beyond_the_limit_are_one(
    tmp_path: Path, make_gauge: MakeGauge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The points of all others are in one stream that says so; the points themselves keep their attributes."""
    monkeypatch.setattr(dictionaries, "MAX_STREAMS", 2)
    store = open_store(tmp_path / "data")
    store.metrics.write(make_gauge([(1, 1.0, host) for host in "abcd"]))
    store.metrics.write(make_gauge([(2, 2.0, host) for host in "abcd"]))
    page, found = store.metrics.series(ask()), store.metrics.find(MetricQuery("memory", RANGE))
    notices = [notice.text for notice in store.health().notices]
    store.close()

    assert {tuple(one.attributes.items()): one.steps[0].point_count for one in page.series} == {
        (("host", "a"),): 2,
        (("host", "b"),): 2,
        (("otel.metric.overflow", True),): 4,
    }
    assert sorted(str(point.attributes["host"]) for point in found.metrics[0].points) == list("aabbccdd")
    assert [text.startswith("Metric memory of shop has more than 2 sets of attributes") for text in notices] == [True]


points = st.lists(
    st.tuples(
        st.integers(0, 99),
        st.one_of(st.integers(-(10**6), 10**6).map(float), st.just(math.inf)),
        st.sampled_from(["a", "b", "c"]),
    ),
    max_size=30,
    unique_by=lambda point: (point[0], point[2]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    batches=st.lists(points, min_size=1, max_size=3),
    bounds=st.tuples(st.integers(0, 100), st.integers(0, 100)),
    step_s=st.sampled_from([1, 7, 30, 1000]),
    looks_at_every_step=st.booleans(),
)
def test_series_equal_a_count_over_all_points(
    *,
    make_gauge: MakeGauge,
    batches: list[list[tuple[int, float, str]]],
    bounds: tuple[int, int],
    step_s: int,
    looks_at_every_step: bool,
) -> None:
    """Whatever the range and step, in however many segments the points lie, by either way through the index."""
    time_range = TimeRange(bounds[0] * SECOND, bounds[1] * SECOND)
    taken: dict[tuple[int, str], float] = {}
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "_MAX_EMPTY_STEPS", 100_000 if looks_at_every_step else -1)
        writer = Writer(Path(directory), segment_bytes=1)
        for batch in batches:
            new = [point for point in batch if (point[0], point[2]) not in taken]
            taken |= {(second, host): value for second, value, host in new}
            if new:
                writer.write(make_gauge([(second or 1_000, value, host) for second, value, host in new]))
        writer.close()
        store = open_store(Path(directory), read_only=True)
        page = store.metrics.series(ask(step_s, time_range))
        store.close()

    assert by_host(page) == _counted(taken, bounds, step_s)


def _counted(
    taken: dict[tuple[int, str], float], bounds: tuple[int, int], step_s: int
) -> dict[object, list[MetricStep]]:
    groups: dict[tuple[str, int], list[tuple[int, float]]] = defaultdict(list)
    for (second, host), value in sorted(taken.items()):
        if bounds[0] <= second < bounds[1] and second:
            groups[host, second // step_s * step_s].append((second, value))
    steps: dict[object, list[MetricStep]] = defaultdict(list)
    for (host, start_s), found in sorted(groups.items()):
        values = [value for _, value in found]
        sums: Sequence[float] = (min(values), max(values), sum(values), values[-1])
        steps[host].append(MetricStep(start_s * SECOND, len(values), *sums, 0))
    return dict(steps)


def test_a_day_of_twenty_streams_is_answered_quickly(tmp_path: Path) -> None:
    """115,200 points of one metric, summed up in 288 steps, take far less than the limit of a question."""
    store = open_store(tmp_path / "data")
    for hour in range(24):
        request = ExportMetricsServiceRequest()
        data = request.resource_metrics.add().scope_metrics.add().metrics.add(name="memory").gauge
        for number in range(hour * 4_800, (hour + 1) * 4_800):
            point = data.data_points.add(time_unix_nano=(number // 20 * 15 + 1) * SECOND, as_double=number)
            point.attributes.append(attribute("host", f"h{number % 20}"))
        store.metrics.write(Batch(Signal.METRICS, request, request.SerializeToString(), len(data.data_points)))
    store.metrics.names()
    question = ask(300, TimeRange(0, 86_400 * SECOND))
    store.metrics.series(question)

    started_s = time.perf_counter()
    page = store.metrics.series(question)
    took_s = time.perf_counter() - started_s
    store.close()

    assert [len(one.steps) for one in page.series] == [288] * 20
    assert took_s < 1.0
