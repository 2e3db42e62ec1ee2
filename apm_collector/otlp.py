"""OTLP requests to batches, and outcomes to OTLP responses; pure, in both encodings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from google.protobuf.message import DecodeError, EncodeError, Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces

from apm_collector.errors import PermanentError, TooLargeError
from apm_collector.otlp_items import Findings, keep_valid_data_points, keep_valid_log_records, keep_valid_spans
from apm_collector.otlp_json import has_many_values, parse_json
from apm_collector.otlp_wire import has_more_messages, repair_text
from apm_store.model import Batch, Signal

Encoding = Literal["protobuf", "json"]

_MAX_MESSAGES = 2_000_000  # about 350 MB of protobuf objects


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a request held: its valid items (None when there are none), how many were rejected, and why.

    `message` may also tell of repairs when nothing was rejected; "" when there is nothing to tell.
    """

    batch: Batch | None
    rejected: int
    message: str


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
    count: Callable[[Any], int]
    keep_valid: Callable[[Any, Findings], int]


def _count_spans(request: Any) -> int:
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


def _count_data_points(request: Any) -> int:
    return sum(
        len(getattr(metric, data_type).data_points)
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if (data_type := metric.WhichOneof("data"))
    )


def _count_log_records(request: Any) -> int:
    return sum(len(scope.log_records) for resource in request.resource_logs for scope in resource.scope_logs)


_FORMS = {
    Signal.TRACES: _SignalForm(
        request=traces.ExportTraceServiceRequest,
        top_key=b"resourceSpans",
        response=traces.ExportTraceServiceResponse,
        rejected_field="rejected_spans",
        rejected_key="rejectedSpans",
        items="spans",
        max_items=50_000,
        count=_count_spans,
        keep_valid=keep_valid_spans,
    ),
    Signal.METRICS: _SignalForm(
        request=metrics.ExportMetricsServiceRequest,
        top_key=b"resourceMetrics",
        response=metrics.ExportMetricsServiceResponse,
        rejected_field="rejected_data_points",
        rejected_key="rejectedDataPoints",
        items="data points",
        max_items=100_000,
        count=_count_data_points,
        keep_valid=keep_valid_data_points,
    ),
    Signal.LOGS: _SignalForm(
        request=logs.ExportLogsServiceRequest,
        top_key=b"resourceLogs",
        response=logs.ExportLogsServiceResponse,
        rejected_field="rejected_log_records",
        rejected_key="rejectedLogRecords",
        items="log records",
        max_items=100_000,
        count=_count_log_records,
        keep_valid=keep_valid_log_records,
    ),
}


def decode(signal: Signal, body: bytes, encoding: Encoding) -> Decoded:
    """Decode one uncompressed export request and take out its invalid items.

    The batch keeps a protobuf body as it came unless something had to be taken out or repaired.
    Raises PermanentError when nothing can be decoded, TooLargeError when there are more items than a request may hold.
    """
    form = _FORMS[signal]
    findings = Findings()
    parse = _parse_json if encoding == "json" else _parse_protobuf
    request, body = parse(form, body, findings)
    items = form.count(request)
    if items > form.max_items:
        raise TooLargeError(f"{items:,} {form.items} in one request, at most {form.max_items:,} are taken")
    left = form.keep_valid(request, findings)
    if findings.is_changed:
        body = request.SerializeToString()
    batch = Batch(signal=signal, request=request, body=body, item_count=left) if left else None
    return Decoded(batch, rejected=findings.rejected.total(), message=findings.message(form.items))


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
    if encoding == "json":
        return orjson.dumps(_json_response(form, decoded))
    if not decoded.message:
        return b""
    partial = {form.rejected_field: decoded.rejected, "error_message": decoded.message}
    return form.response(partial_success=partial).SerializeToString()


def _json_response(form: _SignalForm, decoded: Decoded) -> dict[str, Any]:
    if not decoded.message:
        return {}
    return {"partialSuccess": {form.rejected_key: str(decoded.rejected), "errorMessage": decoded.message}}
