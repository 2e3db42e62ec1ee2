"""Reads Zipkin v2 JSON, as its UI downloads it and its API answers, by OpenTelemetry's mapping for Zipkin.

https://opentelemetry.io/docs/specs/otel/trace/sdk_exporters/zipkin/
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

import orjson
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from apm_collector.file_formats.contents import FileFormatError, FileRequest, Remarks
from apm_collector.file_formats.json_fields import FieldError, hex_id, json_text, mapping, micros_to_ns, objects, text
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

_SHAPES = "a Zipkin file is a list of spans, or a list of such lists"
_WITH_ATTRIBUTES = re.compile(r'"?(?P<name>[^"{]+)"?\s*:\s*(?P<attributes>\{.*\})\Z', re.DOTALL)  # an OTel event
_SERVER, _SHARING = 2, "spans that client and server share were made two"


def read_zipkin_json(stream: io.BufferedReader, remarks: Remarks) -> Iterator[FileRequest]:
    """The spans of a Zipkin file as requests; a span that cannot be converted is rejected with its cause.

    Raises FileFormatError when the file is no JSON or of another shape, which Zipkin v1 is.
    """
    sources = _raw_spans(load_document(stream, remarks))
    spans = [span for source in sources if (span := _try_convert(source, remarks))]
    _part_shared(spans, remarks)
    yield from requests_of(spans)


def _try_convert(source: Mapping[str, Any], remarks: Remarks) -> ConvertedSpan | None:
    try:
        return _convert(source)
    except FieldError as fault:
        remarks.reject("", f"a span was rejected: {fault}")
        return None


def _raw_spans(document: Any) -> Iterator[dict[str, Any]]:
    """Each span as it stands in the file."""
    if type(document) is not list:
        raise FileFormatError(_SHAPES)
    for element in document:
        for span in element if type(element) is list else (element,):
            if type(span) is not dict:
                raise FileFormatError(_SHAPES)
            if "binaryAnnotations" in span:
                raise FileFormatError("this is Zipkin v1; ask Zipkin's API for /api/v2/traces")
            yield span


def _convert(source: Mapping[str, Any]) -> ConvertedSpan:
    """One span; raises FieldError."""
    tags = {key: value if type(value) is str else json_text(value) for key, value in mapping(source, "tags").items()}
    start_ns = micros_to_ns(source, "timestamp")
    span_id, parent_id = hex_id(source, "id", 8), hex_id(source, "parentId", 8)
    span = Span(
        trace_id=hex_id(source, "traceId", 16),
        span_id=span_id,
        parent_span_id=b"" if parent_id in (span_id, bytes(8)) else parent_id,
        name=text(source, "name"),
        kind=kind_number(source.get("kind")),
        start_time_unix_nano=start_ns,
        end_time_unix_nano=min(start_ns + micros_to_ns(source, "duration", 0), 2**64 - 1),
        events=[_event(one) for one in objects(source, "annotations")],
    )
    _take_status(tags, span)
    take_trace_state(tags, span)
    scope = take_scope(tags)
    local, remote = mapping(source, "localEndpoint"), mapping(source, "remoteEndpoint")
    found = _addresses(local, "network.local") | _addresses(remote, "network.peer")
    if text(remote, "serviceName"):
        found["peer.service"] = text(remote, "serviceName")
    span.attributes.extend(attributes(found | tags))
    service = text(local, "serviceName")
    return ConvertedSpan(span, {"service.name": service} if service else {}, scope)


def _addresses(endpoint: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The address and port of an endpoint as attributes."""
    found: dict[str, Any] = {}
    address = text(endpoint, "ipv4") or text(endpoint, "ipv6")
    if address:
        found[f"{prefix}.address"] = address
    if type(endpoint.get("port")) is int and endpoint["port"] > 0:
        found[f"{prefix}.port"] = endpoint["port"]
    return found


def _take_status(tags: dict[str, Any], span: Any) -> None:
    """The status from the tags: Zipkin holds any span with the tag `error` for failed, unless it says false."""
    code = tags.pop("otel.status_code", "").upper()
    description = tags.pop("otel.status_description", "") if code else ""
    if "error" in tags:
        error = tags.pop("error")
        if error.lower() != "false":
            code = "ERROR"
            description = description or ("" if error.lower() == "true" else error)
    span.status.code = {"OK": STATUS_OK, "ERROR": STATUS_ERROR}.get(code, 0)
    span.status.message = description


def _event(annotation: Mapping[str, Any]) -> Any:
    """An annotation as an event; OpenTelemetry's exporters write the event's attributes behind its name."""
    name, found = text(annotation, "value"), {}
    match = _WITH_ATTRIBUTES.match(name)
    if match:
        try:
            found = orjson.loads(match["attributes"])
            name = match["name"]
        except orjson.JSONDecodeError:
            found = {}
    return Span.Event(time_unix_nano=micros_to_ns(annotation, "timestamp"), name=name, attributes=attributes(found))


def _part_shared(spans: list[ConvertedSpan], remarks: Remarks) -> None:
    """Give the server's half of a span that client and server share an id of its own, as OTLP needs.

    It becomes the child of the client's half, and takes over the children that its service made. The new id follows
    from the old one, so a file that is read twice gives the same spans.
    """
    halves: dict[tuple[bytes, bytes], list[ConvertedSpan]] = {}
    for one in spans:
        halves.setdefault((one.span.trace_id, one.span.span_id), []).append(one)
    moved: dict[tuple[bytes, bytes, str], bytes] = {}
    for (trace_id, span_id), sharing in halves.items():
        servers = [one for one in sharing if one.span.kind == _SERVER]
        if len(servers) == 1 and len(sharing) > 1:
            new_id = blake2b(trace_id + span_id, digest_size=8, person=b"zipkin shared").digest()
            servers[0].span.span_id, servers[0].span.parent_span_id = new_id, span_id
            moved[trace_id, span_id, _service(servers[0])] = new_id
            remarks.warn(_SHARING)
    for one in spans:
        parent = moved.get((one.span.trace_id, one.span.parent_span_id, _service(one)))
        if parent is not None and parent != one.span.span_id:
            one.span.parent_span_id = parent


def _service(one: ConvertedSpan) -> str:
    return str(one.resource.get("service.name", ""))
