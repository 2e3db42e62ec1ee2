"""Metrics as the bytes of an OTLP request, written directly.

The official encoder makes a protobuf object of every point and attribute, which costs four times as much. What is rare
is left to it: exemplars and exponential histograms.
"""

from collections.abc import Callable
from struct import Struct, pack
from typing import Any

from opentelemetry.exporter.otlp.proto.common._internal import metrics_encoder
from opentelemetry.exporter.otlp.proto.http import metric_exporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric as MetricMessage
from opentelemetry.sdk.metrics.export import Gauge, Histogram, Metric, MetricsData, Sum

from otel_agent.guard import guard
from otel_agent.otlp_fields import (
    EncodedRequest,
    KnownAttributes,
    KnownFields,
    double_field,
    field,
    with_resource,
    with_scope,
)

_TIMES = Struct("<BQBQ").pack
_TIME = Struct("<BQ").pack
_WHOLE_NUMBER = Struct("<Bq").pack
_COUNT_AND_SUM = Struct("<BQBd").pack


class _Heads(KnownFields):
    """The fields of (name, description, unit)."""

    def _encode(self, text: Any) -> bytes:
        return b"".join(
            field(tag, part.encode()) for tag, part in zip((b"\x0a", b"\x12", b"\x1a"), text, strict=True) if part
        )


_heads = _Heads(0)
_number_attributes = KnownAttributes(0x3A)
_histogram_attributes = KnownAttributes(0x4A)


class EncodedMetrics(EncodedRequest):
    """An encoded request, and how many points it has."""

    def __init__(self, encoded: bytes, point_count: int) -> None:
        super().__init__(encoded)
        self.point_count = point_count

    @property
    def resource_metrics(self) -> Any:
        """Return what the exporter looks into where it splits a request that is too large."""
        return ExportMetricsServiceRequest.FromString(self._encoded).resource_metrics


def install() -> None:
    """Make the exporter encode in this way, and in its own where that fails; KeyError where it has none."""
    official: Callable[[MetricsData], Any] = vars(metric_exporter)["encode_metrics"]
    official_count: Callable[[Any], int] = vars(metric_exporter)["_count_data_points"]

    def encode(data: MetricsData) -> Any:
        with guard("encode metrics directly"):
            return encode_metrics(data)
        return official(data)

    def count(request: Any) -> int:
        return request.point_count if isinstance(request, EncodedMetrics) else official_count(request)

    metric_exporter.encode_metrics = encode  # type: ignore[attr-defined]
    metric_exporter._count_data_points = count  # type: ignore[assignment]


def encode_metrics(data: MetricsData) -> EncodedMetrics:
    """Encode an ExportMetricsServiceRequest."""
    resources, point_count = [], 0
    for of_resource in data.resource_metrics:
        scopes = []
        for of_scope in of_resource.scope_metrics:
            metrics = [_metric(metric) for metric in of_scope.metrics]
            point_count += sum(len(metric.data.data_points) for metric in of_scope.metrics)
            scopes.append(with_scope(of_scope.scope, b"".join(metrics)))
        resources.append(with_resource(of_resource.resource, b"".join(scopes)))
    return EncodedMetrics(b"".join(resources), point_count)


def _metric(metric: Metric) -> bytes:
    data: Any = metric.data
    kind, points = type(data), data.data_points
    if kind is Sum:
        fields = [_sum_point(point) for point in points]
        fields.append(b"\x10%c" % data.aggregation_temporality + (b"\x18\x01" if data.is_monotonic else b""))
        tag = b"\x3a"
    elif kind is Gauge:
        fields, tag = [_gauge_point(point) for point in points], b"\x2a"
    elif kind is Histogram:
        fields = [_histogram_point(point) for point in points]
        fields.append(b"\x10%c" % data.aggregation_temporality)
        tag = b"\x4a"
    else:
        return field(b"\x12", _official(metric))
    head = _heads[metric.name, metric.description, metric.unit]
    return field(b"\x12", head + field(tag, b"".join(fields)))


def _official(metric: Metric) -> bytes:
    texts: Any = {"name": metric.name, "description": metric.description, "unit": metric.unit}
    message = MetricMessage(**texts)
    metrics_encoder._encode_metric(metric, message)  # type: ignore[no-untyped-call]  # the library left it unannotated
    return message.SerializePartialToString()


def _sum_point(point: Any) -> bytes:
    times = _TIMES(0x11, point.start_time_unix_nano or 0, 0x19, point.time_unix_nano)
    return _number_point(point, times)


def _gauge_point(point: Any) -> bytes:
    return _number_point(point, _TIME(0x19, point.time_unix_nano))


def _number_point(point: Any, times: bytes) -> bytes:
    value = point.value
    number = _WHOLE_NUMBER(0x31, value) if isinstance(value, int) else double_field(0x21, value)
    attributes = b"".join(_number_attributes.of(point.attributes))
    return field(b"\x0a", times + number + attributes + _exemplars(b"\x2a", point))


def _histogram_point(point: Any) -> bytes:
    counts, bounds = point.bucket_counts, point.explicit_bounds
    parts = (
        _TIMES(0x11, point.start_time_unix_nano or 0, 0x19, point.time_unix_nano),
        _COUNT_AND_SUM(0x21, point.count, 0x29, point.sum),
        field(b"\x32", pack(f"<{len(counts)}Q", *counts)),
        field(b"\x3a", pack(f"<{len(bounds)}d", *bounds)),
        *_histogram_attributes.of(point.attributes),
        b"" if point.min is None else double_field(0x59, point.min),
        b"" if point.max is None else double_field(0x61, point.max),
        _exemplars(b"\x42", point),
    )
    return field(b"\x0a", b"".join(parts))


def _exemplars(tag: bytes, point: Any) -> bytes:
    if not point.exemplars:
        return b""
    messages = metrics_encoder._encode_exemplars(point.exemplars)
    return b"".join(field(tag, message.SerializePartialToString()) for message in messages)
