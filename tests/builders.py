"""Builds OTLP requests and batches for tests, with ids and times that the test chooses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from apm_store.model import Batch, Signal

MS = 1_000_000
SECOND = 1_000_000_000


def attribute(key: str, value: Any) -> KeyValue:
    """One attribute of a string, bool, int or float."""
    kind = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}[type(value)]
    return KeyValue(key=key, value=AnyValue(**{kind: value}))


def make_span(
    name: str,
    *,
    trace: int = 1,
    span: int = 1,
    parent: int = 0,
    start_ns: int = 1_000 * SECOND,
    duration_ns: int = 10 * MS,
    kind: int = Span.SPAN_KIND_SERVER,
    failed: bool = False,
    attributes: Mapping[str, Any] | None = None,
) -> Span:
    """One OTLP span; ids are small numbers, a parent of 0 makes it a root."""
    made = Span(
        trace_id=trace.to_bytes(16, "big"),
        span_id=span.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=name,
        kind=kind,
        start_time_unix_nano=start_ns,
        end_time_unix_nano=start_ns + duration_ns,
        attributes=[attribute(key, value) for key, value in (attributes or {}).items()],
    )
    made.status.code = 2 if failed else 0
    return made


def make_request(spans: Iterable[Span], service: str = "shop") -> ExportTraceServiceRequest:
    """An export request with the spans of one service."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.append(attribute("service.name", service))
    group.scope_spans.add().spans.extend(spans)
    return request


def make_batch(spans: Iterable[Span], service: str = "shop") -> Batch:
    """A batch with the spans of one service."""
    spans = list(spans)
    request = make_request(spans, service)
    return Batch(Signal.TRACES, request, request.SerializeToString(), len(spans))
