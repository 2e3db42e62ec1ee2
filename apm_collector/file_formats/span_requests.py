"""Puts spans that were converted from another format into OTLP requests, grouped by resource and scope."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from apm_collector.file_formats.contents import FileRequest
from apm_collector.file_formats.json_fields import json_text
from apm_store.model import Signal

_REQUEST_SPANS = 1000
_KINDS = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
STATUS_OK, STATUS_ERROR = 1, 2


@dataclass(frozen=True, slots=True)
class ConvertedSpan:
    """A span with what OTLP keeps outside of it; `scope` is name and version."""

    span: Any
    resource: dict[str, Any]
    scope: tuple[str, str]


def requests_of(spans: Iterable[ConvertedSpan]) -> Iterator[FileRequest]:
    """The spans as export requests of at most 1,000."""
    rest = iter(spans)
    while chunk := list(islice(rest, _REQUEST_SPANS)):
        yield FileRequest(Signal.TRACES, _request(chunk).SerializeToString(), "protobuf")


def _request(spans: list[ConvertedSpan]) -> Any:
    request = ExportTraceServiceRequest()
    blocks: dict[bytes, Any] = {}
    scopes: dict[tuple[bytes, tuple[str, str]], Any] = {}
    for one in spans:
        resource = Resource(attributes=attributes(one.resource))
        key = resource.SerializeToString()
        if key not in blocks:
            blocks[key] = request.resource_spans.add(resource=resource)
        if (key, one.scope) not in scopes:
            scope_spans = scopes[key, one.scope] = blocks[key].scope_spans.add()
            scope_spans.scope.name, scope_spans.scope.version = one.scope
        scopes[key, one.scope].spans.append(one.span)
    return request


def attributes(values: dict[str, Any]) -> list[Any]:
    """Plain data as OTLP attributes."""
    return [KeyValue(key=key, value=_any_value(value)) for key, value in values.items()]


def _any_value(value: Any) -> Any:
    """A value as OTLP writes it; what has no type of its own there becomes its JSON text."""
    if type(value) is tuple:
        return AnyValue(array_value=ArrayValue(values=[_any_value(one) for one in value]))
    kind = _VALUE_FIELDS.get(type(value))
    if kind is None or (kind == "int_value" and not -(2**63) <= value < 2**63):
        kind, value = "string_value", str(value) if kind else json_text(value)
    made: Any = AnyValue()
    setattr(made, kind, value)
    return made


_VALUE_FIELDS = {
    str: "string_value",
    bool: "bool_value",
    int: "int_value",
    float: "double_value",
    bytes: "bytes_value",
}


def take_scope(tags: dict[str, Any]) -> tuple[str, str]:
    """Take the scope's name and version out of tags, by their present or older keys."""
    name, version = (
        str(tags.pop(f"otel.scope.{part}", tags.pop(f"otel.library.{part}", ""))) for part in ("name", "version")
    )
    return name, version


def kind_number(name: Any) -> Any:
    """OTLP's number of a span kind's name, in any case; of none INTERNAL, as both formats leave that kind out."""
    return _KINDS.get(str(name).upper(), 1)


def take_trace_state(tags: dict[str, Any], span: Span) -> None:
    """Move the W3C trace state from the tags to the span."""
    if isinstance(tags.get("w3c.tracestate"), str):
        span.trace_state = tags.pop("w3c.tracestate")
