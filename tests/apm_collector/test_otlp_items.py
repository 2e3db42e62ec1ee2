"""Validity of spans, data points and log records."""

from __future__ import annotations

from typing import Any

import pytest
from builders import make_request, make_span
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Exemplar,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    SummaryDataPoint,
)

from apm_collector.otlp_items import Findings, keep_valid_data_points, keep_valid_log_records, keep_valid_spans

TRACE_ID, SPAN_ID = b"t" * 16, b"s" * 8


@pytest.mark.parametrize(
    ("field", "value", "cause"),
    [
        ("trace_id", b"", "trace id is empty"),
        ("trace_id", bytes(16), "trace id is all zero"),
        ("trace_id", b"x" * 12, "trace id is 12 bytes, 16 are needed (base64 ids?)"),
        ("trace_id", b"?", "trace id is not hexadecimal (base64 ids?)"),
        ("span_id", b"", "span id is empty"),
        ("span_id", bytes(8), "span id is all zero"),
        ("span_id", b"x" * 16, "span id is 16 bytes, 8 are needed (base64 ids?)"),
    ],
)
def test_a_span_without_valid_ids_is_rejected_alone(field: str, value: bytes, cause: str) -> None:
    """Its neighbours stay, and the cause is told."""
    bad = make_span("bad")
    setattr(bad, field, value)
    request = make_request([make_span("a", span=2), bad, make_span("b", span=3)])
    findings = Findings()

    left = keep_valid_spans(request, findings)

    assert left == 2
    assert request == make_request([make_span("a", span=2), make_span("b", span=3)])
    assert findings.message("spans") == f"1 span rejected: {cause}"


@pytest.mark.parametrize(
    ("parent", "remark"),
    [(b"abc", "cleared: parent span id is 3 bytes, 8 are needed (base64 ids?) (1)"), (bytes(8), "")],
)
def test_a_bad_parent_id_makes_a_root(parent: bytes, remark: str) -> None:
    """The span is kept; an all-zero parent is a usual way to say root and needs no remark."""
    span = make_span("op")
    span.parent_span_id = parent
    request, findings = make_request([span]), Findings()

    assert keep_valid_spans(request, findings) == 1

    assert request == make_request([make_span("op")])
    assert findings.message("spans") == remark
    assert findings.is_changed


def test_bad_ids_of_links_are_cleared() -> None:
    """A link that leads nowhere does not cost its span."""
    span = make_span("op")
    span.links.add(trace_id=b"short", span_id=SPAN_ID)
    request, findings = make_request([span]), Findings()

    assert keep_valid_spans(request, findings) == 1

    link = request.resource_spans[0].scope_spans[0].spans[0].links[0]
    assert (link.trace_id, link.span_id) == (b"", SPAN_ID)


def test_a_valid_request_is_not_touched() -> None:
    """Nothing is found, nothing is changed."""
    span = make_span("op", parent=7)
    span.links.add(trace_id=TRACE_ID, span_id=SPAN_ID)
    request, findings = make_request([span]), Findings()

    assert keep_valid_spans(request, findings) == 1
    assert not findings.is_changed


@pytest.mark.parametrize(
    ("trace_id", "span_id", "kept", "has_remark"),
    [
        (TRACE_ID, SPAN_ID, (TRACE_ID, SPAN_ID), False),
        (TRACE_ID, b"", (TRACE_ID, b""), False),
        (b"", b"", (b"", b""), False),
        (bytes(16), bytes(8), (b"", b""), False),
        (b"short", SPAN_ID, (b"", b""), True),
        (TRACE_ID, b"short", (TRACE_ID, b""), True),
        (b"", SPAN_ID, (b"", b""), True),
    ],
)
def test_a_log_record_with_bad_ids_is_unlinked(
    trace_id: bytes, span_id: bytes, kept: tuple[bytes, bytes], has_remark: bool
) -> None:
    """Log records are always kept; a link that cannot lead to a span is cleared."""
    request, findings = ExportLogsServiceRequest(), Findings()
    record = request.resource_logs.add().scope_logs.add().log_records.add(trace_id=trace_id, span_id=span_id)

    assert keep_valid_log_records(request, findings) == 1

    assert (record.trace_id, record.span_id) == kept
    assert bool(findings.message("log records")) is has_remark


def _number(**fields: Any) -> NumberDataPoint:
    return NumberDataPoint(**{"as_int": 1, **fields})


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
    ("metric", "cause"),
    [
        (_metric("gauge", NumberDataPoint()), "the data point has no value"),
        (_metric("sum", _number()), "aggregation temporality is unspecified"),
        (_metric("histogram", HistogramDataPoint()), "aggregation temporality is unspecified"),
        (_metric("exponential_histogram", ExponentialHistogramDataPoint()), "aggregation temporality is unspecified"),
        (
            _histogram(bucket_counts=[1, 2], explicit_bounds=[1, 2]),
            "2 bucket counts and 2 bounds",
        ),
        (
            _histogram(explicit_bounds=[1]),
            "0 bucket counts and 1",
        ),
        (
            _histogram(bucket_counts=[1, 2, 3], explicit_bounds=[2, 2]),
            "the bounds of the histogram do not increase",
        ),
        (
            _histogram(bucket_counts=[1, 2, 3], explicit_bounds=[1, float("nan")]),
            "the bounds of the histogram do not increase",
        ),
        (
            _metric("exponential_histogram", ExponentialHistogramDataPoint(scale=21), aggregation_temporality=1),
            "the scale of the exponential histogram is 21",
        ),
    ],
)
def test_an_invalid_data_point_is_rejected_alone(metric: Metric, cause: str) -> None:
    """Points of other metrics stay, and the cause is told."""
    left, request, findings = _judge(metric, _metric("gauge", _number()))

    assert left == 1
    assert findings.rejected.total() == 1
    assert cause in findings.message("data points")
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


def test_a_message_names_the_five_most_frequent_causes() -> None:
    """A request with a thousand faults gets a message that can be read."""
    findings = Findings()
    for number in range(9):
        findings.reject(f"cause {number}", items=number + 1)

    message = findings.message("spans")

    assert message.startswith("9 spans rejected: cause 8; 8 spans rejected: cause 7")
    assert message.count(";") == 4
