"""Reads OTLP/JSON files: one document, or one export request on each line as the file exporter writes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from apm_collector.file_formats.contents import (
    MAX_DOCUMENT_BYTES,
    MAX_RECORD_BYTES,
    FileFormatError,
    FileRequest,
    Remarks,
)
from apm_collector.file_formats.lenient_json import to_strict
from apm_collector.otlp_json import has_many_values
from apm_store.model import Signal

_REQUESTS = {
    Signal.TRACES: (ExportTraceServiceRequest.DESCRIPTOR, "resourceSpans", "scopeSpans", "spans"),
    Signal.METRICS: (ExportMetricsServiceRequest.DESCRIPTOR, "resourceMetrics", "scopeMetrics", "metrics"),
    Signal.LOGS: (ExportLogsServiceRequest.DESCRIPTOR, "resourceLogs", "scopeLogs", "logRecords"),
}
_PIECE_ITEMS = 10_000  # a request may hold 50,000 spans; a file any number
_SKIP_BYTES = 1024 * 1024
_BOM = b"\xef\xbb\xbf"


def read_otlp_jsonl(stream: io.BufferedReader, remarks: Remarks) -> Iterator[FileRequest]:
    """The requests of a file with one JSON object on each line; a bad line is a fault and costs no other line."""
    for number, line in _numbered_lines(stream, remarks):
        if line.strip():
            place = f"line {number:,}"
            try:
                document = load_json(line, remarks)
            except FileFormatError as error:
                remarks.fault(place, str(error))
            else:
                yield from requests_in(document, place, remarks)


def read_otlp_json(stream: io.BufferedReader, remarks: Remarks) -> Iterator[FileRequest]:
    """The requests of one JSON document: a request, the file exporter's TracesData and so on, or a list of those.

    Raises FileFormatError when it is too large or no JSON.
    """
    document = load_document(stream, remarks)
    parts = document if type(document) is list else [document]
    for number, part in enumerate(parts, 1):
        yield from requests_in(part, f"element {number:,}" if len(parts) > 1 else "", remarks)


def load_document(stream: io.BufferedReader, remarks: Remarks) -> Any:
    """A whole JSON file as plain data; raises FileFormatError when it is too large or no JSON."""
    data = stream.read(MAX_DOCUMENT_BYTES + 1)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise FileFormatError(
            f"one JSON document of more than {MAX_DOCUMENT_BYTES >> 20} MiB is not read; write one request on each line"
        )
    return load_json(data.removeprefix(_BOM), remarks)


def load_json(data: bytes, remarks: Remarks) -> Any:
    """JSON text as plain data; text that is not UTF-8 is repaired. Raises FileFormatError."""
    if has_many_values(data):
        raise FileFormatError("it has more than 4,000,000 JSON values; split it, or write one request on each line")
    try:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            repaired = data.decode("utf-8", "replace").encode()
            if repaired == data:
                raise
            document = orjson.loads(repaired)
            remarks.warn("texts repaired that were not UTF-8")
            return document
    except orjson.JSONDecodeError as error:
        raise FileFormatError(f"it is not JSON: {error}") from error


def requests_in(document: Any, place: str, remarks: Remarks) -> Iterator[FileRequest]:
    """The export requests, one for each signal, of one JSON object; nothing that helps is a fault."""
    if type(document) is not dict:
        remarks.fault(place, "it is no JSON object")
        return
    is_empty = True
    for signal, (descriptor, top, scopes, items) in _REQUESTS.items():
        name = descriptor.fields[0].name
        part = {key: document[key] for key in (top, name) if key in document}
        if part:
            is_empty = False
            to_strict(part, descriptor, remarks.warn)
            for piece in _pieces(part, (top, scopes, items)):
                body = _dump(piece, place, remarks)
                if body:
                    yield FileRequest(signal, body, "json", place)
    if is_empty and document:
        remarks.fault(place, "it has no resourceSpans, resourceMetrics or resourceLogs")


def _dump(document: Any, place: str, remarks: Remarks) -> bytes | None:
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:  # its limit is 254 levels; it reads 1,024
        remarks.fault(place, "it has more than 100 levels")
        return None


def _pieces(document: Any, keys: tuple[str, str, str]) -> Iterator[Any]:
    """A request as it is, or in pieces when it has more items than one may hold."""
    top, scopes, items = keys
    try:
        blocks = [(block, scope) for block in document[top] or () for scope in block.get(scopes) or ()]
        is_large = sum(len(scope.get(items) or ()) for _, scope in blocks) > _PIECE_ITEMS
    except (TypeError, AttributeError):  # of another shape: the strict parser says what is wrong
        yield document
        return
    if not is_large:
        yield document
        return
    for block, scope in blocks:
        for start in range(0, len(scope.get(items) or ()), _PIECE_ITEMS):
            piece = {**scope, items: scope[items][start : start + _PIECE_ITEMS]}
            yield {top: [{**block, scopes: [piece]}]}


def _numbered_lines(stream: io.BufferedReader, remarks: Remarks) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers; one that is too long is skipped without being held in memory."""
    number = 0
    while line := stream.readline(MAX_RECORD_BYTES + 1):
        number += 1
        if len(line) > MAX_RECORD_BYTES and not line.endswith(b"\n"):
            remarks.fault(f"line {number:,}", f"it is longer than {MAX_RECORD_BYTES >> 20} MiB")
            while line and not line.endswith(b"\n"):
                line = stream.readline(_SKIP_BYTES)
            continue
        yield number, line.removeprefix(_BOM) if number == 1 else line
