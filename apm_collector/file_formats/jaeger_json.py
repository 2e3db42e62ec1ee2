"""Reads Jaeger's JSON, as its UI downloads it and its API answers, by OpenTelemetry's mapping for Jaeger.

https://opentelemetry.io/docs/specs/otel/trace/sdk_exporters/jaeger/
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from apm_collector.file_formats.contents import FileFormatError, FileRequest, Remarks
from apm_collector.file_formats.json_fields import FieldError, hex_id, mapping, micros_to_ns, objects, text
from apm_collector.file_formats.otlp_json import load_document
from apm_collector.file_formats.span_requests import (
    STATUS_ERROR,
    STATUS_OK,
    ConvertedSpan,
    attributes,
    kind_number,
    requests_of,
    take_scope,
    take_trace_state,
)

_SHAPES = 'a Jaeger file is {"data": [traces]}, one trace with "spans", or a list of either'
_SAMPLED = 1


def read_jaeger_json(stream: io.BufferedReader, remarks: Remarks) -> Iterator[FileRequest]:
    """The spans of a Jaeger file as requests; a span that cannot be converted is rejected with its cause.

    Raises FileFormatError when the file is no JSON or of another shape.
    """
    document = load_document(stream, remarks)
    yield from requests_of(_spans(document, remarks))


def _spans(document: Any, remarks: Remarks) -> Iterator[ConvertedSpan]:
    for source, processes in _raw_spans(document):
        span = _try_convert(source, processes, remarks)
        if span is not None:
            yield span


def _try_convert(source: Mapping[str, Any], processes: Mapping[str, Any], remarks: Remarks) -> ConvertedSpan | None:
    try:
        return _convert(source, processes)
    except FieldError as fault:
        remarks.reject("", f"a span was rejected: {fault}")
        return None


def _raw_spans(document: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each span as it stands in the file, with the processes of its trace."""
    elements = document
    if type(document) is dict:
        elements = (document.get("data") or []) if "data" in document else [document]
    if type(elements) is not list:
        raise FileFormatError(_SHAPES)
    for element in elements:
        if type(element) is not dict:
            raise FileFormatError(_SHAPES)
        try:
            if "spans" in element:
                processes = mapping(element, "processes")
                for span in objects(element, "spans"):
                    yield span, processes
            elif element is document:
                raise FileFormatError(_SHAPES)
            else:
                yield element, {}
        except FieldError as fault:
            raise FileFormatError(f"{fault}; {_SHAPES}") from fault


def _convert(source: Mapping[str, Any], processes: Mapping[str, Any]) -> ConvertedSpan:
    """One span; raises FieldError."""
    tags = _tags(objects(source, "tags"))
    start_ns = micros_to_ns(source, "startTime")
    span = Span(
        trace_id=hex_id(source, "traceID", 16),
        span_id=hex_id(source, "spanID", 8),
        name=text(source, "operationName"),
        kind=kind_number(tags.pop("span.kind", "")),
        start_time_unix_nano=start_ns,
        end_time_unix_nano=min(start_ns + micros_to_ns(source, "duration", 0), 2**64 - 1),
        events=[_event(log) for log in objects(source, "logs")],
        flags=_SAMPLED if type(source.get("flags")) is int and source["flags"] & _SAMPLED else 0,
    )
    _set_references(span, source)
    _take_status(tags, span)
    take_trace_state(tags, span)
    scope = take_scope(tags)
    if type(source.get("warnings")) is list and source["warnings"]:
        tags["@jaeger@warnings"] = tuple(str(one) for one in source["warnings"])
    span.attributes.extend(attributes(tags))
    return ConvertedSpan(span, _resource(_process(source, processes)), scope)


def _process(source: Mapping[str, Any], processes: Mapping[str, Any]) -> dict[str, Any]:
    """The process of a span: its own, or that of its trace which it names."""
    process_id = text(source, "processID")
    return mapping(processes, process_id) if process_id else mapping(source, "process")


def _resource(process: Mapping[str, Any]) -> dict[str, Any]:
    resource = _tags(objects(process, "tags"))
    if "hostname" in resource:
        resource.setdefault("host.name", resource.pop("hostname"))
    name = text(process, "serviceName")
    return {"service.name": name, **resource} if name else resource


def _set_references(span: Any, source: Mapping[str, Any]) -> None:
    """The parent is the CHILD_OF in the same trace, else the FOLLOWS_FROM; all but that CHILD_OF become links."""
    references = [
        (text(one, "refType"), hex_id(one, "traceID", 16) or span.trace_id, hex_id(one, "spanID", 8))
        for one in objects(source, "references")
    ]
    parents = [one for one in references if one[1] == span.trace_id and one[2] not in (b"", bytes(8), span.span_id)]
    parents.sort(key=lambda one: one[0] != "CHILD_OF")
    span.parent_span_id = parents[0][2] if parents else hex_id(source, "parentSpanID", 8)
    for reference in references:
        if reference[0] != "CHILD_OF" or not parents or reference != parents[0]:
            ref_type, trace_id, span_id = reference
            link_attributes = attributes({"opentracing.ref_type": ref_type.lower()} if ref_type else {})
            span.links.add(trace_id=trace_id, span_id=span_id, attributes=link_attributes)


def _take_status(tags: dict[str, Any], span: Any) -> None:
    """The status from the tags `error` and `otel.status_code`; `error` wins, as in Jaeger."""
    code = str(tags.pop("otel.status_code", "")).upper()
    if tags.get("error") is True or str(tags.get("error")).lower() == "true":
        del tags["error"]
        code = "ERROR"
    span.status.code = {"OK": STATUS_OK, "ERROR": STATUS_ERROR}.get(code, 0)
    if code:
        span.status.message = str(tags.pop("otel.status_description", ""))


def _event(log: Mapping[str, Any]) -> Any:
    fields = _tags(objects(log, "fields"))
    dropped = fields.pop("otel.event.dropped_attributes_count", 0)
    return Span.Event(
        time_unix_nano=micros_to_ns(log, "timestamp"),
        name=str(fields.pop("event", "log")),
        attributes=attributes(fields),
        dropped_attributes_count=dropped if type(dropped) is int and 0 <= dropped < 2**32 else 0,
    )


def _tags(tags: list[dict[str, Any]]) -> dict[str, Any]:
    """Jaeger's typed tags as plain data; a value that does not fit its type stays what it is in JSON."""
    return {text(tag, "key"): _value(tag) for tag in tags}


def _value(tag: Mapping[str, Any]) -> Any:
    value = tag.get("value")
    convert = _CONVERSIONS.get(str(tag.get("type")).lower())
    if convert is None or type(value) is not str:
        return float(value) if type(value) is int and tag.get("type") == "float64" else value
    try:
        return convert(value)
    except (ValueError, binascii.Error):
        return value


def _to_bool(value: str) -> bool:
    return {"true": True, "false": False}[value.lower()] if value.lower() in ("true", "false") else bool(int(value))


_CONVERSIONS: dict[str, Callable[[str], Any]] = {
    "bool": _to_bool,
    "int64": int,
    "float64": float,
    "binary": lambda value: base64.b64decode(value, validate=True),
}
