"""The formats that a telemetry file may have, how one is told from its first bytes, and the batches that come of it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import orjson

from apm_collector.errors import CollectorError
from apm_collector.file_formats.contents import FileFormatError, FileRequest, Remarks
from apm_collector.file_formats.jaeger_json import read_jaeger_json
from apm_collector.file_formats.otlp_json import read_otlp_json, read_otlp_jsonl
from apm_collector.file_formats.otlp_protobuf import MAX_LENGTH_BYTE, TAG, read_otlp_protobuf
from apm_collector.file_formats.unpack import ZSTD_MAGIC
from apm_collector.file_formats.zipkin_json import read_zipkin_json
from apm_collector.otlp import decode
from apm_store.model import Batch

HEAD_BYTES = 64 * 1024
_BLANK = b" \t\r\n"
_MARKERS = re.compile(
    rb'"(?:(?P<otlp>resource(?:Spans|Metrics|Logs|_spans|_metrics|_logs))|(?P<jaeger>traceID|spanID|processes)|'
    rb'(?P<zipkin>traceId|binaryAnnotations))"\s*:'
)
_OTHERS = (
    (b"SQLite format 3\0", "it is an SQLite database; a backup is not imported but put in the data directory's place"),
    (b"PK\x03\x04", "it is a zip archive; unpack it first"),
    (b"PAR1", "it is a Parquet file, which can be written but not read"),
    (b"\xff\xfe", "it is UTF-16 text; write it as UTF-8"),
    (b"\xfe\xff", "it is UTF-16 text; write it as UTF-8"),
)


@dataclass(frozen=True, slots=True)
class FileFormat:
    """One format: what it is called, and how it is read."""

    title: str
    read: Callable[[io.BufferedReader, Remarks], Iterator[FileRequest]]


FORMATS: Mapping[str, FileFormat] = {
    "otlp-json": FileFormat("OTLP JSON", read_otlp_json),
    "otlp-jsonl": FileFormat("OTLP JSON lines", read_otlp_jsonl),
    "otlp-protobuf": FileFormat("OTLP protobuf", read_otlp_protobuf),
    "jaeger-json": FileFormat("Jaeger JSON", read_jaeger_json),
    "zipkin-json": FileFormat("Zipkin JSON", read_zipkin_json),
}
"""The formats by the name that the command line has for them."""


def detect_format(head: bytes) -> str:
    """The name of a file's format from its first 64 KiB; raises FileFormatError when there is none."""
    if not head:
        raise FileFormatError("the file is empty")
    for magic, message in _OTHERS:
        if head.startswith(magic):
            raise FileFormatError(message)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(_BLANK)
    if not text:
        raise FileFormatError("the file holds nothing but blanks")
    if text[:1] in (b"{", b"["):
        return _json_format(text)
    if _is_otlp_protobuf(head):
        return "otlp-protobuf"
    raise FileFormatError(f"its format is not known; accepted: {', '.join(FORMATS)}")


def _json_format(text: bytes) -> str:
    """The format of JSON text, by the first key that only one format has."""
    marker = _MARKERS.search(text)
    if marker is None:
        raise FileFormatError("it looks like JSON, but is neither OTLP nor Jaeger nor Zipkin")
    if marker["otlp"]:
        return "otlp-jsonl" if text[:1] == b"{" and _has_objects_on_lines(text) else "otlp-json"
    return "jaeger-json" if marker["jaeger"] else "zipkin-json"


def _has_objects_on_lines(text: bytes) -> bool:
    """Whether each line is an object of its own: the first one is, or (should it be broken) a later one begins one."""
    first, *others = text.split(b"\n")
    if not others or any(line.startswith(b'{"') for line in others):
        return True
    try:
        orjson.loads(first)
    except orjson.JSONDecodeError:
        return False
    return True


def _is_otlp_protobuf(head: bytes) -> bool:
    """Whether a file starts as one of the forms that `otlp_protobuf` reads."""
    if head[0] == TAG:
        return _behind_varint(head[1:])[:1] in (b"\x0a", b"\x12", b"\x1a")  # resource, scope block, schema URL
    if head[0] <= MAX_LENGTH_BYTE:
        return head[4:5] in (b"\x0a", b"{") or head[4:8] == ZSTD_MAGIC
    return _behind_varint(head)[:1] == b"\x0a"


def _behind_varint(data: bytes) -> bytes:
    """What follows a varint of at most 5 bytes."""
    for length, byte in enumerate(data[:5], 1):
        if byte < 0x80:
            return data[length : length + 8]
    return b""


def read_batches(stream: io.BufferedReader, format_name: str, remarks: Remarks) -> Iterator[Batch]:
    """The valid telemetry of a file, request by request; what is left out, converted or unreadable goes to `remarks`.

    Raises FileFormatError when the file as a whole cannot be read (on).
    """
    for request in FORMATS[format_name].read(stream, remarks):
        try:
            decoded = decode(request.signal, request.body, request.encoding)
        except CollectorError as error:
            remarks.fault(request.place, str(error))
            continue
        if decoded.rejected:
            remarks.reject(request.place, decoded.message, decoded.rejected)
        elif decoded.message:
            _warn_of_repairs(decoded.message, remarks)
        if decoded.batch is not None:
            yield decoded.batch


_COUNTED = re.compile(r"(.*) \(([0-9,]+)\)\Z")


def _warn_of_repairs(message: str, remarks: Remarks) -> None:
    """Add up what the validation put right: "what (times); what (times)"."""
    for part in message.split("; "):
        match = _COUNTED.match(part)
        if match:
            remarks.warn(match[1], int(match[2].replace(",", "")))
        else:
            remarks.warn(part)
