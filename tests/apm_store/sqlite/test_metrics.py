"""Data points are found by metric, service and time, and stored once."""

from __future__ import annotations

import math
from collections.abc import Callable

from builders import SECOND

from apm_store.api import Store
from apm_store.model import Batch
from apm_store.query import MetricQuery, TimeRange

MakeGauge = Callable[..., Batch]
RANGE = TimeRange(0, 100 * SECOND)


def test_the_streams_of_a_metric_are_found_with_their_points(store: Store, make_gauge: MakeGauge) -> None:
    """Points of one metric come from all bodies, oldest first, each with its attributes."""
    store.metrics.write(make_gauge([(3, 3.0, "a"), (3, 30.0, "b")]))
    store.metrics.write(make_gauge([(1, 1.0, "a")]))
    store.metrics.write(make_gauge([(2, 2.0, "a")], name="cpu"))

    page = store.metrics.find(MetricQuery("memory", RANGE))

    [metric] = page.metrics
    points = [(point.time_ns // SECOND, point.value, point.attributes["host"]) for point in metric.points]
    assert points == [(1, 1.0, "a"), (3, 3.0, "a"), (3, 30.0, "b")]
    assert (metric.unit, metric.service, page.is_complete) == ("By", "shop", True)


def test_metrics_of_other_services_are_other_metrics(store: Store, make_gauge: MakeGauge) -> None:
    """One name in two services is two metrics; a question may name one of them."""
    store.metrics.write(make_gauge([(1, 1.0, "a")], service="shop"))
    store.metrics.write(make_gauge([(1, 2.0, "a")], service="pay"))

    both, one = (
        store.metrics.find(MetricQuery("memory", RANGE)),
        store.metrics.find(MetricQuery("memory", RANGE, "pay")),
    )

    assert [metric.service for metric in both.metrics] == ["pay", "shop"]
    assert [metric.points[0].value for metric in one.metrics] == [2.0]
    assert store.metrics.find(MetricQuery("memory", RANGE, "nobody")).metrics == ()


def test_a_limit_keeps_the_newest_points_and_says_so(store: Store, make_gauge: MakeGauge) -> None:
    """When the limit cuts points, `is_complete` is false."""
    store.metrics.write(make_gauge([(second, float(second), "a") for second in range(1, 11)]))

    cut, whole = (store.metrics.find(MetricQuery("memory", RANGE, limit=limit)) for limit in (3, 10))

    assert [point.value for point in cut.metrics[0].points] == [8.0, 9.0, 10.0]
    assert (cut.is_complete, whole.is_complete) == (False, True)


def test_a_point_that_comes_again_is_stored_once(store: Store, make_gauge: MakeGauge) -> None:
    """The same stream, time, start and value in another body is a duplicate."""
    store.metrics.write(make_gauge([(1, 1.0, "a"), (2, 2.0, "a")]))
    store.metrics.write(make_gauge([(2, 2.0, "a"), (3, 3.0, "a")]))

    page = store.metrics.find(MetricQuery("memory", RANGE))

    assert store.health().duplicates["metrics"] == 1
    assert [point.value for point in page.metrics[0].points] == [1.0, 2.0, 3.0]
    assert store.stats().data_points == 3


def test_points_of_one_moment_with_different_content_are_all_stored(store: Store, make_gauge: MakeGauge) -> None:
    """Only a true copy is a duplicate: another value at the same time is another point, in one body or in two."""
    store.metrics.write(make_gauge([(1, 1.0, "a"), (1, 2.0, "a"), (1, 1.0, "a")]))
    store.metrics.write(make_gauge([(1, 3.0, "a"), (1, 2.0, "a")]))

    [metric] = store.metrics.find(MetricQuery("memory", RANGE)).metrics

    assert store.health().duplicates["metrics"] == 2
    assert sorted(point.value for point in metric.points if isinstance(point.value, float)) == [1.0, 2.0, 3.0]


def test_a_point_that_is_no_number_is_kept(store: Store, make_gauge: MakeGauge) -> None:
    """NaN and infinity are stored and come back."""
    store.metrics.write(make_gauge([(1, math.nan, "a"), (2, math.inf, "a")]))

    [metric] = store.metrics.find(MetricQuery("memory", RANGE)).metrics

    assert [repr(point.value) for point in metric.points] == ["nan", "inf"]


def test_points_are_found_in_all_segments(in_segments: Callable[..., Store], make_gauge: MakeGauge) -> None:
    """A metric has its points from every segment in order; a limit cuts the oldest of all."""
    store = in_segments(
        make_gauge([(1, 1.0, "a"), (6, 6.0, "a")]), make_gauge([(4, 4.0, "b")]), make_gauge([(3, 3.0, "a")])
    )

    whole, cut = (store.metrics.find(MetricQuery("memory", RANGE, limit=limit)) for limit in (4, 2))

    assert [point.value for metric in whole.metrics for point in metric.points] == [1.0, 3.0, 4.0, 6.0]
    assert [point.value for metric in cut.metrics for point in metric.points] == [4.0, 6.0]
    assert (whole.is_complete, cut.is_complete) == (True, False)


def test_names_are_listed_by_service(store: Store, make_gauge: MakeGauge) -> None:
    """Names come sorted, of all services or of one."""
    store.metrics.write(make_gauge([(1, 1.0, "a")], name="b"))
    store.metrics.write(make_gauge([(1, 1.0, "a")], name="a", service="pay"))

    assert store.metrics.names() == ["a", "b"]
    assert store.metrics.names("pay") == ["a"]
    assert store.metrics.names("nobody") == []
