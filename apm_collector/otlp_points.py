"""Which data points are valid; takes the others out of a request, one by one, and remarks on odd ones.

The rules are those of the OTLP metrics data model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from apm_collector.otlp_items import NO_SPAN_ID, NO_TRACE_ID, Findings, is_id, keep

_Fault = tuple[str, str]  # the cause that is counted, and why in words
_NO_RECORDED_VALUE = 1  # DataPointFlags
_DELTA = 1  # AggregationTemporality
_MIN_SCALE, _MAX_SCALE = -10, 20  # of exponential histograms, as the SDK specification bounds them


def keep_valid_data_points(request: Any, findings: Findings) -> int:
    """Take invalid data points out of an ExportMetricsServiceRequest; gives how many data points are left."""
    left = 0
    for resource_metrics in request.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                left += _keep_valid_points(metric, findings)
    return left


def _keep_valid_points(metric: Any, findings: Findings) -> int:
    """Take invalid points out of one metric; gives how many are left."""
    data_type = metric.WhichOneof("data")
    if data_type is None:
        return 0
    data = getattr(metric, data_type)
    points = data.data_points
    fault = _metric_fault(metric, data_type, data)
    if fault is not None and points:
        findings.reject(*fault, len(points))
        del points[:]
        return 0
    fault_of, oddities_of = _POINT_FAULTS[data_type], _POINT_ODDITIES[data_type]
    kept = []
    for point in points:
        if not point.flags & _NO_RECORDED_VALUE:  # its value, if it has one, means nothing
            fault = fault_of(point)
            if fault is not None:
                findings.reject(*fault)
                continue
            for oddity in oddities_of(data, point):
                findings.remark(oddity)
        if data_type != "summary" and point.exemplars:
            _keep_valid_exemplars(point, findings)
        kept.append(point)
    keep(points, kept)
    return len(kept)


def _metric_fault(metric: Any, data_type: str, data: Any) -> _Fault | None:
    """Why no point of a metric can be used."""
    if not metric.name:
        return "no_name", "the metric has no name"
    if data_type in _WITH_TEMPORALITY and data.aggregation_temporality == 0:
        return "temporality", "aggregation temporality is unspecified, delta (1) or cumulative (2) is needed"
    return None


_WITH_TEMPORALITY = frozenset({"sum", "histogram", "exponential_histogram"})


def _number_fault(point: Any) -> _Fault | None:
    return None if point.WhichOneof("value") else ("no_value", "the data point has no value")


def _histogram_fault(point: Any) -> _Fault | None:
    buckets, bounds = len(point.bucket_counts), point.explicit_bounds
    if buckets != len(bounds) + 1 and (buckets or len(bounds)):
        counts = f"{buckets} bucket counts and {len(bounds)} bounds"
        return "histogram", f"the histogram has {counts}, one more count than bounds is needed"
    if any(not low < high for low, high in pairwise(bounds)):
        return "histogram", "the bounds of the histogram do not increase"
    return None


def _exponential_fault(point: Any) -> _Fault | None:
    if not _MIN_SCALE <= point.scale <= _MAX_SCALE:
        scales = f"{_MIN_SCALE} to {_MAX_SCALE}"
        return "histogram", f"the scale of the exponential histogram is {point.scale}, {scales} are possible"
    return None


def _no_fault(_point: Any) -> _Fault | None:
    return None


_POINT_FAULTS: dict[str, Callable[[Any], _Fault | None]] = {
    "gauge": _number_fault,
    "sum": _number_fault,
    "histogram": _histogram_fault,
    "exponential_histogram": _exponential_fault,
    "summary": _no_fault,
}


def _time_oddities(_data: Any, point: Any) -> Iterator[str]:
    time_ns = point.time_unix_nano
    if not time_ns:
        yield "a data point has no time"
    elif point.start_time_unix_nano > time_ns:
        yield "a data point starts after its time"


def _sum_oddities(data: Any, point: Any) -> Iterator[str]:
    yield from _time_oddities(data, point)
    if data.is_monotonic and data.aggregation_temporality == _DELTA and min(point.as_int, point.as_double) < 0:
        yield "a delta of a monotonic sum is negative"


def _histogram_oddities(data: Any, point: Any) -> Iterator[str]:
    yield from _time_oddities(data, point)
    if point.bucket_counts and sum(point.bucket_counts) != point.count:
        yield "the bucket counts of a histogram do not add up to its count"


def _exponential_oddities(data: Any, point: Any) -> Iterator[str]:
    yield from _time_oddities(data, point)
    buckets = sum(point.positive.bucket_counts) + sum(point.negative.bucket_counts)
    if point.zero_count + buckets != point.count:
        yield "the bucket counts of an exponential histogram do not add up to its count"


def _summary_oddities(data: Any, point: Any) -> Iterator[str]:
    yield from _time_oddities(data, point)
    if not all(0 <= value.quantile <= 1 for value in point.quantile_values):  # NaN is not between either
        yield "a quantile of a summary is not from 0 to 1"


_POINT_ODDITIES: dict[str, Callable[[Any, Any], Iterator[str]]] = {
    "gauge": _time_oddities,
    "sum": _sum_oddities,
    "histogram": _histogram_oddities,
    "exponential_histogram": _exponential_oddities,
    "summary": _summary_oddities,
}


def _keep_valid_exemplars(point: Any, findings: Findings) -> None:
    """Take out the exemplars whose ids cannot lead to a span; those without ids stay."""
    kept = [exemplar for exemplar in point.exemplars if _is_valid_exemplar(exemplar)]
    if len(kept) < len(point.exemplars):
        findings.repair("exemplars left out: their ids are invalid", len(point.exemplars) - len(kept))
        keep(point.exemplars, kept)


def _is_valid_exemplar(exemplar: Any) -> bool:
    trace_id, span_id = exemplar.trace_id, exemplar.span_id
    return (not trace_id and not span_id) or (is_id(trace_id, NO_TRACE_ID) and is_id(span_id, NO_SPAN_ID))
