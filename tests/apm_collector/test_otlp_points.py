"""Validity of data points."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Exemplar,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    SummaryDataPoint,
)

from apm_collector.otlp_items import Findings
from apm_collector.otlp_points import keep_valid_data_points

TRACE_ID, SPAN_ID = b"t" * 16, b"s" * 8


def _number(**fields: Any) -> NumberDataPoint:
    return NumberDataPoint(**{"as_int": 1, "time_unix_nano": 9, **fields})


def _metric(kind: str, point: Any, **data: Any) -> Metric:
    metric = Metric(name="m")
    getattr(metric, kind).data_points.append(point)
    for name, value in data.items():
        setattr(getattr(metric, kind), name, value)
    return metric


def _histogram(**fields: Any) -> Metric:
    return _metric("histogram", HistogramDataPoint(**fields), aggregation_temporality=2)


def _judge(*metrics: Metric) -> tuple[int, ExportMetricsServiceRequest, Findings]:
    request, findings = ExportMetricsServiceRequest(), Findings()
    request.resource_metrics.add().scope_metrics.add().metrics.extend(metrics)
    return keep_valid_data_points(request, findings), request, findings


@pytest.mark.parametrize(
    "metric",
    [
        _metric("gauge", _number()),
        _metric("gauge", NumberDataPoint(flags=1)),
        _metric("sum", _number(), aggregation_temporality=2),
        _histogram(count=3),
        _histogram(bucket_counts=[3]),
        _histogram(bucket_counts=[1, 2, 0], explicit_bounds=[1, 2]),
        _histogram(explicit_bounds=[2, 1], flags=1),
        _metric("exponential_histogram", ExponentialHistogramDataPoint(scale=20), aggregation_temporality=2),
        _metric("exponential_histogram", ExponentialHistogramDataPoint(scale=-10), aggregation_temporality=2),
        _metric("summary", SummaryDataPoint()),
    ],
)
def test_a_valid_data_point_is_kept(metric: Metric) -> None:
    """All five types, the empty forms of histograms, and points that say "no value recorded"."""
    left, request, findings = _judge(metric)

    assert left == 1
    assert request.resource_metrics[0].scope_metrics[0].metrics[0] == metric
    assert not findings.is_changed


@pytest.mark.parametrize(
    ("metric", "cause", "words"),
    [
        (_metric("gauge", NumberDataPoint()), "no_value", "the data point has no value"),
        (_metric("sum", _number()), "temporality", "aggregation temporality is unspecified"),
        (_metric("histogram", HistogramDataPoint()), "temporality", "aggregation temporality is unspecified"),
        (
            _metric("exponential_histogram", ExponentialHistogramDataPoint()),
            "temporality",
            "aggregation temporality is unspecified",
        ),
        (
            _histogram(bucket_counts=[1, 2], explicit_bounds=[1, 2]),
            "histogram",
            "2 bucket counts and 2 bounds",
        ),
        (
            _histogram(explicit_bounds=[1]),
            "histogram",
            "0 bucket counts and 1",
        ),
        (
            _histogram(bucket_counts=[1, 2, 3], explicit_bounds=[2, 2]),
            "histogram",
            "the bounds of the histogram do not increase",
        ),
        (
            _histogram(bucket_counts=[1, 2, 3], explicit_bounds=[1, float("nan")]),
            "histogram",
            "the bounds of the histogram do not increase",
        ),
        (
            _metric("exponential_histogram", ExponentialHistogramDataPoint(scale=21), aggregation_temporality=1),
            "histogram",
            "the scale of the exponential histogram is 21",
        ),
    ],
)
def test_an_invalid_data_point_is_rejected_alone(metric: Metric, cause: str, words: str) -> None:
    """Points of other metrics stay, the cause is counted, and told in words."""
    left, request, findings = _judge(metric, _metric("gauge", _number()))

    assert left == 1
    assert findings.causes == {cause: 1}
    assert words in findings.message("data points")
    assert request.resource_metrics[0].scope_metrics[0].metrics[1] == _metric("gauge", _number())


def test_a_metric_without_a_name_loses_its_points() -> None:
    """Nobody could ask for them."""
    metric = _metric("gauge", _number())
    metric.name = ""

    left, _, findings = _judge(metric)

    assert (left, findings.message("data points")) == (0, "1 data point rejected: the metric has no name")


def test_a_metric_without_data_is_ignored() -> None:
    """There is nothing to store and nothing to reject."""
    left, _, findings = _judge(Metric(name="empty"))

    assert (left, findings.is_changed) == (0, False)


def test_exemplars_with_bad_ids_are_left_out() -> None:
    """The point stays, and so do exemplars with good ids or none."""
    good, none = Exemplar(as_int=1, trace_id=TRACE_ID, span_id=SPAN_ID), Exemplar(as_int=2)
    bad = [Exemplar(as_int=3, trace_id=b"short", span_id=SPAN_ID), Exemplar(as_int=4, trace_id=TRACE_ID)]

    left, request, findings = _judge(_metric("gauge", _number(exemplars=[bad[0], good, bad[1], none])))

    point = request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]
    assert left == 1
    assert list(point.exemplars) == [good, none]
    assert findings.message("data points") == "exemplars left out: their ids are invalid (2)"


@pytest.mark.parametrize(
    ("metric", "remark"),
    [
        (_metric("gauge", _number(time_unix_nano=0)), "a data point has no time"),
        (_metric("gauge", _number(start_time_unix_nano=10)), "a data point starts after its time"),
        (
            _metric("sum", _number(as_int=-1), aggregation_temporality=1, is_monotonic=True),
            "a delta of a monotonic sum is negative",
        ),
        (
            _metric("sum", _number(as_double=-0.5), aggregation_temporality=1, is_monotonic=True),
            "a delta of a monotonic sum is negative",
        ),
        (
            _histogram(time_unix_nano=9, count=4, bucket_counts=[1, 2], explicit_bounds=[1]),
            "the bucket counts of a histogram do not add up to its count",
        ),
        (
            _metric(
                "exponential_histogram",
                ExponentialHistogramDataPoint(time_unix_nano=9, count=4, zero_count=1),
                aggregation_temporality=2,
            ),
            "the bucket counts of an exponential histogram do not add up to its count",
        ),
        *(
            (
                _metric("summary", SummaryDataPoint(time_unix_nano=9, quantile_values=[{"quantile": quantile}])),
                "a quantile of a summary is not from 0 to 1",
            )
            for quantile in (-0.1, 1.1, float("nan"))
        ),
    ],
)
def test_an_odd_data_point_is_kept_with_a_remark(metric: Metric, remark: str) -> None:
    """The sender is told; nothing is changed."""
    left, _, findings = _judge(metric)

    assert left == 1
    assert findings.message("data points") == f"{remark} (1)"
    assert not findings.is_changed


@pytest.mark.parametrize(
    "metric",
    [
        _metric("sum", _number(as_int=-1), aggregation_temporality=2, is_monotonic=True),
        _metric("sum", _number(as_int=-1), aggregation_temporality=1),
        _metric("summary", SummaryDataPoint(time_unix_nano=9, quantile_values=[{"quantile": 0}, {"quantile": 1}])),
        _metric(
            "exponential_histogram",
            ExponentialHistogramDataPoint(
                time_unix_nano=9,
                count=7,
                zero_count=1,
                positive={"offset": -3, "bucket_counts": [1, 2]},
                negative={"bucket_counts": [3]},
            ),
            aggregation_temporality=1,
        ),
    ],
)
def test_what_the_data_model_allows_gets_no_remark(metric: Metric) -> None:
    """Resets are for the reader to see, and sums may fall unless they are monotonic."""
    _, _, findings = _judge(metric)

    assert findings.message("data points") == ""
