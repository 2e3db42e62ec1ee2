"""OTLP protobuf files: single messages and both framings, whole and broken."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import make_request, make_span
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from apm_collector.file_formats import otlp_protobuf
from apm_collector.file_formats.unpack import zstd
from apm_collector.file_formats.write_otlp_json import to_json_line
from apm_collector.otlp import decode
from apm_store.model import Signal


def make_body(number: int) -> bytes:
    """A trace request with one span."""
    return make_request([make_span("GET /", span=number)]).SerializeToString()


def big_endian(body: bytes) -> bytes:
    """A message as the Collector's file exporter writes it."""
    return struct.pack(">I", len(body)) + body


def varint(body: bytes) -> bytes:
    """A message with protobuf's own length prefix."""
    length, prefix = len(body), b""
    while length > 0x7F:
        prefix += bytes([length & 0x7F | 0x80])
        length >>= 7
    return prefix + bytes([length]) + body


@pytest.fixture
def bodies(fixtures: Path) -> list[tuple[Signal, bytes]]:
    """One protobuf request of each signal."""
    names = {Signal.TRACES: "trace", Signal.METRICS: "metrics", Signal.LOGS: "logs"}
    texts = {signal: (fixtures / f"01-otlp-proto-examples/{name}.json").read_bytes() for signal, name in names.items()}
    return [(signal, decode(signal, text, "json").batch.body) for signal, text in texts.items()]  # type: ignore[union-attr]


def test_a_single_request_is_recognised_with_its_signal(
    bodies: list[tuple[Signal, bytes]], read: Callable[..., Any]
) -> None:
    """The body of a POST, saved to a file, is read back as it was."""
    for signal, body in bodies:
        found = read(body)

        assert found.format_name == "otlp-protobuf"
        assert [(batch.signal, batch.body) for batch in found.batches] == [(signal, body)]


@pytest.mark.parametrize("frame", [big_endian, varint], ids=["4 bytes", "varint"])
def test_framed_requests_of_all_signals_are_read(
    frame: Callable[[bytes], bytes], bodies: list[tuple[Signal, bytes]], read: Callable[..., Any]
) -> None:
    """Both framings keep every request in order."""
    found = read(b"".join(frame(body) for _, body in bodies) * 2)

    assert found.format_name == "otlp-protobuf"
    assert [batch.signal for batch in found.batches] == [signal for signal, _ in bodies] * 2
    assert found.remarks.faults == 0


@pytest.mark.parametrize("is_json", [False, True], ids=["protobuf", "JSON"])
def test_frames_compressed_one_by_one_are_read(is_json: bool, read: Callable[..., Any]) -> None:
    """With compression the file exporter packs each message, JSON ones too, and frames them."""
    requests = [make_request([make_span("GET /", span=number)]) for number in (1, 2)]
    texts = [to_json_line(one) if is_json else one.SerializeToString() for one in requests]

    found = read(b"".join(big_endian(zstd.compress(text)) for text in texts))

    assert [batch.request for batch in found.batches] == requests


@pytest.mark.parametrize(
    "record",
    [
        LogRecord(severity_text="INFO", body={"string_value": "hello"}),
        LogRecord(body={"string_value": "x" * 16}),
        LogRecord(severity_number=9),
        LogRecord(observed_time_unix_nano=5),
        LogRecord(time_unix_nano=5, trace_id=bytes(range(16)), span_id=bytes(range(8))),
    ],
    ids=lambda record: "+".join(field.name for field, _ in record.ListFields()),
)
def test_a_sparse_log_record_is_no_span(record: LogRecord, read: Callable[..., Any]) -> None:
    """A log record with hardly a field is told from a span and a metric."""
    request = ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": [record]}]}])

    found = read(request.SerializeToString())

    assert [batch.signal for batch in found.batches] == [Signal.LOGS]


def test_ids_that_are_text_are_still_ids(read: Callable[..., Any]) -> None:
    """A span without times whose ids are printable is not taken for a metric with a name."""
    span = make_span("s")
    span.trace_id, span.span_id = b"abcdefghijklmnop", b"abcdefgh"
    span.ClearField("start_time_unix_nano")
    span.ClearField("end_time_unix_nano")

    assert [batch.signal for batch in read(make_request([span]).SerializeToString()).batches] == [Signal.TRACES]


def test_a_bad_record_costs_no_other_record(read: Callable[..., Any]) -> None:
    """A record that is not OTLP is a fault with its number."""
    found = read(big_endian(make_body(1)) + big_endian(b"\x0a\x05\xff\xff\xff") + big_endian(make_body(2)))

    assert found.items(Signal.TRACES) == 2
    assert [note.split(":")[0] for note in found.remarks.notes] == ["record 2"]


def test_a_cut_file_keeps_what_is_whole(read: Callable[..., Any]) -> None:
    """A file that ends in a record gives those before it."""
    found = read((big_endian(make_body(1)) + big_endian(make_body(2)))[:-3])

    assert found.items(Signal.TRACES) == 1
    assert "the file ends after" in next(iter(found.remarks.notes))


def test_a_length_beyond_the_limit_is_not_followed(read: Callable[..., Any]) -> None:
    """A length of 64 MiB and more is a fault; nothing is allocated for it."""
    found = read(big_endian(make_body(1)) + b"\x7f\xff\xff\xff" + make_body(2))

    assert (found.items(Signal.TRACES), found.remarks.faults) == (1, 1)


def test_a_packed_record_that_unfolds_too_far_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, read: Callable[..., Any]
) -> None:
    """A bomb inside a frame costs no other record."""
    monkeypatch.setattr(otlp_protobuf, "MAX_RECORD_BYTES", 1_000_000)

    found = read(big_endian(zstd.compress(bytes(10_000_000))) + big_endian(make_body(1)))

    assert (found.items(Signal.TRACES), found.remarks.faults) == (1, 1)
    assert "unfolds" in next(iter(found.remarks.notes))


def test_text_that_is_not_utf8_is_repaired(read: Callable[..., Any]) -> None:
    """The validation of the network is that of files: one bad byte is repaired and said."""
    found = read(make_body(1).replace(b"GET /", b"GET \xff"))

    assert found.spans[0].name == "GET \ufffd"
    assert found.remarks.warnings == {"texts repaired that were not UTF-8": 1}
