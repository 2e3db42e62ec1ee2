"""OTLP requests to batches, and outcomes to OTLP responses; pure, in both encodings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from google.protobuf.message import DecodeError, EncodeError, Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces

from apm_collector.errors import PermanentError, TooLargeError
from apm_collector.otlp_items import Findings, keep_valid_log_records, keep_valid_spans
from apm_collector.otlp_json import has_many_values, parse_json
from apm_collector.otlp_points import keep_valid_data_points
from apm_collector.otlp_wire import has_more_messages, repair_text
from apm_store.model import Batch, Signal

Encoding = Literal["protobuf", "json"]

_MAX_MESSAGES = 2_000_000  # about 350 MB of protobuf objects
_MAX_MESSAGE_CHARS = 1000  # of an error_message: far below the 4 MiB that OTLP allows a response


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a request held: its valid items (None when there are none), how many were rejected, and why.

    `message` may also tell of repairs when nothing was rejected; "" when there is nothing to tell. `causes` splits
    `rejected` by a few fixed words, such as `invalid_trace_id`.
    """

    batch: Batch | None
    rejected: int
    message: str
    causes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _SignalForm:
    """How one signal looks in OTLP."""

    request: type[Message]
    top_key: bytes
    response: type[Message]
    rejected_field: str
    rejected_key: str
    items: str
    max_items: int
    groups: tuple[str, ...]  # the fields that lead from the request to what holds items
    count: Callable[[Any], int]  # how many items such a group holds
    keep_valid: Callable[[Any, Findings], int]
    first_attributes: Callable[[Any], Iterator[Any]]


def _count_spans(scope_spans: Any) -> int:
    return len(scope_spans.spans)


def _count_data_points(metric: Any) -> int:
    data_type = metric.WhichOneof("data")
    return len(getattr(metric, data_type).data_points) if data_type else 0


def _count_log_records(scope_logs: Any) -> int:
    return len(scope_logs.log_records)


def _first_span_attributes(request: Any) -> Iterator[Any]:
    for resource in request.resource_spans:
        yield from resource.resource.attributes
        for scope in resource.scope_spans:
            for span in scope.spans[:1]:
                yield from span.attributes


def _first_metric_attributes(request: Any) -> Iterator[Any]:
    for resource in request.resource_metrics:
        yield from resource.resource.attributes
        for scope in resource.scope_metrics:
            for metric in scope.metrics[:1]:
                if data_type := metric.WhichOneof("data"):
                    for point in getattr(metric, data_type).data_points[:1]:
                        yield from point.attributes


def _first_log_attributes(request: Any) -> Iterator[Any]:
    for resource in request.resource_logs:
        yield from resource.resource.attributes
        for scope in resource.scope_logs:
            for record in scope.log_records[:1]:
                yield from record.attributes


_FORMS = {
    Signal.TRACES: _SignalForm(
        request=traces.ExportTraceServiceRequest,
        top_key=b"resourceSpans",
        response=traces.ExportTraceServiceResponse,
        rejected_field="rejected_spans",
        rejected_key="rejectedSpans",
        items="spans",
        max_items=50_000,
        groups=("resource_spans", "scope_spans"),
        count=_count_spans,
        keep_valid=keep_valid_spans,
        first_attributes=_first_span_attributes,
    ),
    Signal.METRICS: _SignalForm(
        request=metrics.ExportMetricsServiceRequest,
        top_key=b"resourceMetrics",
        response=metrics.ExportMetricsServiceResponse,
        rejected_field="rejected_data_points",
        rejected_key="rejectedDataPoints",
        items="data points",
        max_items=100_000,
        groups=("resource_metrics", "scope_metrics", "metrics"),
        count=_count_data_points,
        keep_valid=keep_valid_data_points,
        first_attributes=_first_metric_attributes,
    ),
    Signal.LOGS: _SignalForm(
        request=logs.ExportLogsServiceRequest,
        top_key=b"resourceLogs",
        response=logs.ExportLogsServiceResponse,
        rejected_field="rejected_log_records",
        rejected_key="rejectedLogRecords",
        items="log records",
        max_items=100_000,
        groups=("resource_logs", "scope_logs"),
        count=_count_log_records,
        keep_valid=keep_valid_log_records,
        first_attributes=_first_log_attributes,
    ),
}


def decode(signal: Signal, body: bytes, encoding: Encoding) -> Decoded:
    """Decode one uncompressed export request and take out its invalid items.

    The batch keeps a protobuf body as it came unless something had to be taken out or repaired, or its attributes
    are not encoded as protobuf itself encodes them.
    Raises PermanentError when nothing can be decoded, TooLargeError when there are more items than a request may hold.
    """
    form = _FORMS[signal]
    findings = Findings()
    parse = _parse_json if encoding == "json" else _parse_protobuf
    request, body = parse(form, body, findings)
    _check_counts(form, request)
    left = form.keep_valid(request, findings)
    if findings.is_changed or not _has_canonical_attributes(form, request, body):
        body = request.SerializeToString()
    batch = Batch(signal=signal, request=request, body=body, item_count=left) if left else None
    causes = dict(findings.causes)
    return Decoded(batch, rejected=sum(causes.values()), message=findings.message(form.items), causes=causes)


def _check_counts(form: _SignalForm, request: Any) -> None:
    """Refuse more items than a request may hold, and as many groups, which may be empty: each costs time as well."""
    groups = [request]
    for name in form.groups:
        _check_count(form, sum(len(getattr(group, name)) for group in groups), name.replace("_", " "))
        groups = [inner for group in groups for inner in getattr(group, name)]
    _check_count(form, sum(map(form.count, groups)), form.items)


def _check_count(form: _SignalForm, count: int, noun: str) -> None:
    if count > form.max_items:
        raise TooLargeError(f"{count:,} {noun} in one request, at most {form.max_items:,} are taken")


def _has_canonical_attributes(form: _SignalForm, request: Any, body: bytes) -> bool:
    """Whether attributes stand in a body as protobuf itself encodes them, so that a search may look for those bytes.

    An encoder writes all attributes alike: those of each resource and of the first item of each scope are looked at.
    """
    position = 0
    for attribute in form.first_attributes(request):
        position = body.find(attribute.SerializeToString(), position)
        if position < 0:
            return False
    return True


def _parse_protobuf(form: _SignalForm, body: bytes, findings: Findings) -> tuple[Any, bytes]:
    """The request and its protobuf body; text that is not UTF-8 is repaired."""
    if has_more_messages(body, form.request, _MAX_MESSAGES):
        raise TooLargeError(f"more than {_MAX_MESSAGES:,} messages (items, attributes, values) in one request")
    try:
        try:
            return form.request.FromString(body), body
        except DecodeError:
            body, repaired = repair_text(body, form.request)
            if not repaired:
                raise
            findings.repair("texts repaired that were not UTF-8", repaired)
            return form.request.FromString(body), body
    except DecodeError as error:
        raise PermanentError(f"the body is not a protobuf {form.request.DESCRIPTOR.name}") from error


def _parse_json(form: _SignalForm, body: bytes, _findings: Findings) -> tuple[Any, bytes]:
    """The request and its protobuf body, parsed back so that both encodings bound nesting alike."""
    if has_many_values(body):
        raise TooLargeError("more than 4,000,000 JSON values in one request")
    name = form.request.DESCRIPTOR.name
    try:
        protobuf_body = parse_json(body, form.request).SerializeToString()
        request = form.request.FromString(protobuf_body)
    except (ValueError, DecodeError, EncodeError) as error:
        raise PermanentError(f"the body is not an OTLP/JSON {name}: {error}") from error
    if form.top_key not in body and body.strip(b"{} \t\r\n"):
        raise PermanentError(f"the body is not an OTLP/JSON {name}: it has no {form.top_key.decode()}")
    return request, protobuf_body


def encode_response(signal: Signal, decoded: Decoded, encoding: Encoding) -> bytes:
    """The success response of an export: empty, or with `partial_success` when there is something to tell."""
    form = _FORMS[signal]
    message = decoded.message[:_MAX_MESSAGE_CHARS]
    if encoding == "json":
        partial_success = {form.rejected_key: str(decoded.rejected), "errorMessage": message}
        return orjson.dumps({"partialSuccess": partial_success} if message else {})
    if not message:
        return b""
    partial = {form.rejected_field: decoded.rejected, "error_message": message}
    return form.response(partial_success=partial).SerializeToString()
