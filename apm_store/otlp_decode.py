"""Turns OTLP protobuf messages into the nouns of `model`.

Nothing here checks validity: a `Batch` holds valid items only. Nesting is bounded, because the protobuf parser
refuses messages deeper than 100 levels.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from apm_store.model import (
    Attributes,
    AttributeValue,
    DataPoint,
    LogRecord,
    Metric,
    MetricType,
    Resource,
    Scope,
    Signal,
    Span,
    SpanEvent,
    SpanLink,
)

_REQUESTS: dict[Signal, Callable[[], Any]] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}
_KEY_VALUE = "opentelemetry.proto.common.v1.KeyValue"


def parse_request(signal: Signal, body: bytes) -> Any:
    """The protobuf export request of a signal from its serialised form; raises DecodeError when it is none."""
    request = _REQUESTS[signal]()
    request.ParseFromString(body)
    return request


def decode_value(value: Any) -> AttributeValue:
    """An `AnyValue` as Python data: arrays become tuples, key-value lists dicts, an empty value None."""
    kind = value.WhichOneof("value")
    if kind is None or kind == "string_value_strindex":  # the index belongs to profiles, which bring a string table
        return None
    if kind == "array_value":
        return tuple(decode_value(item) for item in value.array_value.values)
    if kind == "kvlist_value":
        return decode_attributes(value.kvlist_value.values)
    plain: str | bool | int | float | bytes = getattr(value, kind)
    return plain


def decode_attributes(pairs: Iterable[Any]) -> dict[str, AttributeValue]:
    """A list of `KeyValue` as a dict; of equal keys the last one counts."""
    return {pair.key: decode_value(pair.value) for pair in pairs}


def decode_resource(block: Any) -> Resource:
    """The resource of a `ResourceSpans`, `ResourceMetrics` or `ResourceLogs`."""
    resource = block.resource
    return Resource(decode_attributes(resource.attributes), resource.dropped_attributes_count, block.schema_url)


def decode_scope(block: Any) -> Scope:
    """The scope of a `ScopeSpans`, `ScopeMetrics` or `ScopeLogs`."""
    scope = block.scope
    attributes = decode_attributes(scope.attributes)
    return Scope(scope.name, scope.version, attributes, scope.dropped_attributes_count, block.schema_url)


def decode_spans(request: Any, positions: Container[int] | None = None) -> Iterator[tuple[int, Span]]:
    """The spans of a trace request with their positions: all of them, or those at `positions`.

    A position is the index of an item in the request, counted through all resources and scopes.
    """
    blocks = ((group, scope.spans, scope) for group in request.resource_spans for scope in group.scope_spans)
    for position, item, resource, scope in _items(blocks, positions):
        yield position, _decode_span(item, resource, scope)


def decode_log_records(request: Any, positions: Container[int] | None = None) -> Iterator[tuple[int, LogRecord]]:
    """The log records of a logs request with their positions: all of them, or those at `positions`."""
    blocks = ((group, scope.log_records, scope) for group in request.resource_logs for scope in group.scope_logs)
    for position, item, resource, scope in _items(blocks, positions):
        yield position, _decode_log_record(item, resource, scope)


def decode_metrics(request: Any, positions: Container[int] | None = None) -> Iterator[tuple[Metric, tuple[int, ...]]]:
    """The metrics of a metrics request, each with the positions of its points; those at `positions`, or all.

    Metrics of which no point is asked for are left out.
    """
    for metric, resource, scope, start in iter_metrics(request):
        points = tuple(
            (position, point)
            for position, point in enumerate(metric_data(metric).data_points, start)
            if positions is None or position in positions
        )
        if points:
            nouns = tuple(decode_point(point) for _, point in points)
            yield decode_metric(metric, resource, scope, nouns), tuple(position for position, _ in points)


def iter_metrics(request: Any) -> Iterator[tuple[Any, Any, Any, int]]:
    """Walk the metrics that have data: (metric, resource block, scope block, position of the first point)."""
    position = 0
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                if metric.WhichOneof("data"):
                    yield metric, resource, scope, position
                    position += len(metric_data(metric).data_points)


def metric_data(metric: Any) -> Any:
    """The `Gauge`, `Sum`, `Histogram`, `ExponentialHistogram` or `Summary` of a metric that has one."""
    return getattr(metric, metric.WhichOneof("data"))


def decode_metric(metric: Any, resource: Any, scope: Any, points: tuple[DataPoint, ...]) -> Metric:
    """A metric with the given points; `resource` and `scope` are the blocks that it stands in."""
    data = metric_data(metric)
    return Metric(
        name=metric.name,
        description=metric.description,
        unit=metric.unit,
        type=MetricType(metric.WhichOneof("data")),
        temporality=getattr(data, "aggregation_temporality", 0),
        is_monotonic=getattr(data, "is_monotonic", False),
        resource=decode_resource(resource),
        scope=decode_scope(scope),
        points=points,
        metadata=decode_attributes(metric.metadata),
    )


def decode_point(point: Any) -> DataPoint:
    """A data point of any of the five kinds."""
    is_distribution = hasattr(point, "count")
    return DataPoint(
        time_ns=point.time_unix_nano,
        start_ns=point.start_time_unix_nano,
        attributes=decode_attributes(point.attributes),
        value=None if is_distribution else point_value(point),
        count=point.count if is_distribution else None,
        sum=point_sum(point) if is_distribution else None,
        detail=_plain(point),
    )


def point_value(point: Any) -> int | float | None:
    """The value of a number data point; None when it has none."""
    kind = point.WhichOneof("value")
    value: int | float | None = getattr(point, kind) if kind else None
    return value


def point_sum(point: Any) -> float | None:
    """The sum of a distribution's data point; None when a histogram does not tell it (a summary always does)."""
    is_told = not point.DESCRIPTOR.fields_by_name["sum"].has_presence or point.HasField("sum")
    return float(point.sum) if is_told else None


def _items(
    blocks: Iterable[tuple[Any, Any, Any]], positions: Container[int] | None
) -> Iterator[tuple[int, Any, Resource, Scope]]:
    """Walk (resource block, items, scope block): the wanted items, with their resource and scope decoded once."""
    position = -1
    known_block: Any = None
    resource = Resource()
    for resource_block, items, scope_block in blocks:
        scope: Scope | None = None
        for item in items:
            position += 1
            if positions is not None and position not in positions:
                continue
            if known_block is not resource_block:
                known_block, resource = resource_block, decode_resource(resource_block)
            scope = scope or decode_scope(scope_block)
            yield position, item, resource, scope


def _decode_span(span: Any, resource: Resource, scope: Scope) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        name=span.name,
        kind=span.kind,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        status_code=span.status.code,
        status_message=span.status.message,
        attributes=decode_attributes(span.attributes),
        events=tuple(map(_decode_event, span.events)),
        links=tuple(map(_decode_link, span.links)),
        resource=resource,
        scope=scope,
        trace_state=span.trace_state,
        flags=span.flags,
        dropped_attributes_count=span.dropped_attributes_count,
        dropped_events_count=span.dropped_events_count,
        dropped_links_count=span.dropped_links_count,
    )


def _decode_event(event: Any) -> SpanEvent:
    attributes = decode_attributes(event.attributes)
    return SpanEvent(event.time_unix_nano, event.name, attributes, event.dropped_attributes_count)


def _decode_link(link: Any) -> SpanLink:
    return SpanLink(
        trace_id=link.trace_id.hex(),
        span_id=link.span_id.hex(),
        trace_state=link.trace_state,
        attributes=decode_attributes(link.attributes),
        dropped_attributes_count=link.dropped_attributes_count,
        flags=link.flags,
    )


def _decode_log_record(record: Any, resource: Resource, scope: Scope) -> LogRecord:
    return LogRecord(
        time_ns=record.time_unix_nano,
        observed_time_ns=record.observed_time_unix_nano,
        severity_number=record.severity_number,
        severity_text=record.severity_text,
        body=decode_value(record.body),
        attributes=decode_attributes(record.attributes),
        resource=resource,
        scope=scope,
        trace_id=record.trace_id.hex(),
        span_id=record.span_id.hex(),
        event_name=record.event_name,
        flags=record.flags,
        dropped_attributes_count=record.dropped_attributes_count,
    )


def _plain(message: Any) -> dict[str, Any]:
    """Every field that a message carries, under its OTLP name; ids in hex, attributes as a dict."""
    plain: dict[str, Any] = {}
    for descriptor, value in message.ListFields():
        if descriptor.type != descriptor.TYPE_MESSAGE:
            plain[descriptor.name] = _plain_scalar(value, descriptor)
        elif descriptor.message_type.full_name == _KEY_VALUE:
            plain[descriptor.name] = decode_attributes(value)
        elif descriptor.is_repeated:
            plain[descriptor.name] = tuple(map(_plain, value))
        else:
            plain[descriptor.name] = _plain(value)
    return plain


def _plain_scalar(value: Any, descriptor: Any) -> Any:
    if descriptor.is_repeated:
        return tuple(value)
    return value.hex() if descriptor.type == descriptor.TYPE_BYTES else value  # the only bytes in a point are ids


def attributes_match(pairs: Attributes, key: str, text: str) -> bool:
    """Whether an attribute exists whose value, written as text, is exactly `text`."""
    return key in pairs and value_text(pairs[key]) == text


def value_text(value: AttributeValue) -> str | None:
    """A string as it is, a number or boolean as JSON writes it; None for values that have no such text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | float) else None
