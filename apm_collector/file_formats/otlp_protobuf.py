"""Reads OTLP protobuf files: one export request, or many behind each other, framed in either of two ways.

The Collector's file exporter writes a 4-byte big-endian length before each message; with compression the message is a
Zstandard frame, and may hold JSON. The OpenTelemetry specification writes protobuf's own varint length instead.
A request starts with the tag of its first field, 0x0A, which as a length of 4 bytes would be beyond our limit.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from itertools import islice

from apm_collector.file_formats.contents import MAX_RECORD_BYTES, FileFormatError, FileRequest, Remarks
from apm_collector.file_formats.otlp_json import load_json, requests_in
from apm_collector.file_formats.unpack import ZSTD_MAGIC
from apm_collector.otlp_wire import read_varint
from apm_store.model import Signal

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TAG = 0x0A  # field 1, length-delimited: what every request, resource block and scope block starts with
MAX_LENGTH_BYTE = MAX_RECORD_BYTES >> 24  # the highest first byte of a 4-byte length
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_LOOK_AT = 64  # fields of an item: the telling ones come first


def read_otlp_protobuf(stream: io.BufferedReader, remarks: Remarks) -> Iterator[FileRequest]:
    """The requests of a protobuf file; a record that cannot be read is a fault.

    Raises FileFormatError when the file is one message that is too large.
    """
    first = stream.peek(1)[:1]
    if first == bytes([TAG]):
        body = stream.read(MAX_RECORD_BYTES + 1)
        if len(body) > MAX_RECORD_BYTES:
            raise FileFormatError(f"one message of more than {MAX_RECORD_BYTES >> 20} MiB is not read")
        yield from _requests_of(body, "", remarks)
        return
    is_big_endian = bool(first) and first[0] <= MAX_LENGTH_BYTE
    for number, record in enumerate(_records(stream, is_big_endian, remarks), 1):
        yield from _requests_of(record, f"record {number:,}", remarks)


def _records(stream: io.BufferedReader, is_big_endian: bool, remarks: Remarks) -> Iterator[bytes]:
    """The framed messages; ends with a fault where a length is wrong, since nothing behind it can be found."""
    number = 0
    while stream.peek(1):
        number += 1
        length = int.from_bytes(stream.read(4), "big") if is_big_endian else _read_varint(stream)
        if length > MAX_RECORD_BYTES:
            remarks.fault(
                f"record {number:,}", f"its length is {length:,} bytes, at most {MAX_RECORD_BYTES:,} are read"
            )
            return
        record = stream.read(length)
        if len(record) < length:
            remarks.fault(f"record {number:,}", f"the file ends after {len(record):,} of its {length:,} bytes")
            return
        yield record


def _read_varint(stream: io.BufferedReader) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        value |= (byte[0] & 0x7F) << shift if byte else 0
        if not byte or byte[0] < 0x80:
            break
    return value


def _requests_of(record: bytes, place: str, remarks: Remarks) -> Iterator[FileRequest]:
    """The request of one message, which may be packed, and may be JSON."""
    try:
        body = _inflate(record) if record.startswith(ZSTD_MAGIC) else record
        if body.startswith(b"{"):
            yield from requests_in(load_json(body, remarks), place, remarks)
        elif body:
            signal = _signal_of(body)
            if signal is not None:
                yield FileRequest(signal, body, "protobuf", place)
    except FileFormatError as error:
        remarks.fault(place, str(error))


def _inflate(record: bytes) -> bytes:
    decompressor = zstd.ZstdDecompressor()
    try:
        body: bytes = decompressor.decompress(record, MAX_RECORD_BYTES + 1)
    except zstd.ZstdError as error:
        raise FileFormatError(f"its Zstandard frame is damaged: {error}") from error
    if len(body) > MAX_RECORD_BYTES:
        raise FileFormatError(f"it unfolds to more than {MAX_RECORD_BYTES >> 20} MiB")
    if not decompressor.eof:
        raise FileFormatError("its Zstandard frame ends too early")
    return body


def _signal_of(body: bytes) -> Signal | None:
    """Which request a message is, judged by the fields of its first item; None when it has no item.

    The three requests have one shape; a span has fixed-size times in fields 7 and 8 or ids in 1 and 2, a log record has
    none of a metric's names in field 1. Raises FileFormatError when the message is not protobuf.
    """
    item = next(_items(memoryview(body)), None)
    if item is None:
        return None
    fields = {(number, wire_type): len(value) for number, wire_type, value in islice(_fields(item), _LOOK_AT)}
    has_ids = fields.get((1, _BYTES)) == 16 and fields.get((2, _BYTES)) == 8
    if has_ids or (7, _FIXED64) in fields or (8, _FIXED64) in fields:
        return Signal.TRACES
    return Signal.METRICS if (1, _BYTES) in fields else Signal.LOGS


def _items(body: memoryview) -> Iterator[memoryview]:
    """The spans, metrics or log records of a request."""
    for block in _values(body, 1):
        for scope in _values(block, 2):
            yield from _values(scope, 2)


def _values(message: memoryview, wanted: int) -> Iterator[memoryview]:
    return (value for number, wire_type, value in _fields(message) if number == wanted and wire_type == _BYTES)


def _fields(message: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """The fields of a protobuf message: number, wire type, and the bytes of the value."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        wire_type = tag & 7
        end = position + _FIXED_BYTES.get(wire_type, 0)
        if wire_type == _VARINT:
            _, end = _varint(message, position)
        elif wire_type == _BYTES:
            length, position = _varint(message, position)
            end = position + length
        elif wire_type not in _FIXED_BYTES:
            raise FileFormatError("it is not OTLP protobuf")
        if end > len(message):
            raise FileFormatError("it is not OTLP protobuf, or ends too early")
        yield tag >> 3, wire_type, message[position:end]
        position = end


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """The varint at a position, and the position behind it."""
    try:
        return read_varint(message, position)
    except IndexError as error:
        raise FileFormatError("it is not OTLP protobuf, or ends too early") from error
