"""Counting messages on the wire, and repairing text."""

from __future__ import annotations

from typing import Any

import pytest
from builders import make_request, make_span
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from apm_collector.otlp_wire import _message_fields, _most_messages, _walk_exceeds, has_more_messages, repair_text


def _count(message: Message) -> int:
    """How many messages are in a message, but for strings of AnyValue."""
    total = 0
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value if field.is_repeated else [value]:
                is_string = child.DESCRIPTOR.name == "AnyValue" and child.WhichOneof("value") == "string_value"
                total += 0 if is_string else 1 + _count(child)
    return total


def _request(spans: int) -> ExportTraceServiceRequest:
    attributes: dict[str, Any] = {"text": "x", "number": 3, "empty": "", "flag": True}
    request = make_request([make_span(f"op {n}", span=n + 1, attributes=attributes) for n in range(spans)])
    nested = request.resource_spans[0].resource.attributes.add(key="list").value.array_value
    nested.values.add()
    nested.values.add().kvlist_value.values.add(key="deep").value.bytes_value = b"\x00" * 200
    request.resource_spans[0].scope_spans[0].spans[0].events.add(name="e" * 300).attributes.add()
    return request


@pytest.mark.parametrize("spans", [1, 50])
def test_every_message_is_counted(spans: int) -> None:
    """The walk finds as many messages as the parser builds, and says so at exactly that limit."""
    request = _request(spans)
    fields, body, count = _message_fields(request.DESCRIPTOR), request.SerializeToString(), _count(request)

    assert not _walk_exceeds(body, fields, count)
    assert _walk_exceeds(body, fields, count - 1)
    assert _most_messages(body) >= count


def test_the_quick_bound_is_not_passed_by_ordinary_requests() -> None:
    """A request of a Collector, some 3 MB, cannot hold 2 million messages, and is not walked."""
    body = _request(1000).SerializeToString()

    assert _most_messages(body) < 0.6 * len(body)


def test_many_empty_messages_are_found() -> None:
    """Two bytes a span are the worst case; the answer does not need the end of the body."""
    spans = b"\x12\x00" * 5000
    scope = b"\x12\xff\xff\xff\x0f" + spans  # claims to be longer than it is

    assert has_more_messages(b"\x0a\xff\xff\xff\x0f" + scope, ExportTraceServiceRequest, 4000)


@pytest.mark.parametrize(
    "body", [b"\x0a", b"\x0a\xff", b"\xff" * 12, b"\x0b\x00\x0c", b"\x0e\x01", b"\x09\x01\x0a\x00"]
)
def test_a_faulty_body_is_left_to_the_parser(body: bytes) -> None:
    """Cut, overlong and unknown forms end the count."""
    assert not has_more_messages(body, ExportTraceServiceRequest, 0)


def test_text_that_is_not_utf_8_is_repaired_alone() -> None:
    """One Latin-1 byte becomes U+FFFD; everything else stays as it came."""
    request = make_request([make_span("caf?", attributes={"k?y": "v?l"}), make_span("good", span=2)])
    body = request.SerializeToString().replace(b"?", b"\xe9")

    repaired, texts = repair_text(body, ExportTraceServiceRequest)

    expected = make_request([make_span("caf\ufffd", attributes={"k\ufffdy": "v\ufffdl"}), make_span("good", span=2)])
    assert texts == 3
    assert ExportTraceServiceRequest.FromString(repaired) == expected


def test_bytes_are_no_text() -> None:
    """Ids and bytes values are left alone, whatever they hold."""
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(trace_id=b"\xff" * 16)
    record.body.bytes_value = b"\xfe\xff"
    record.severity_text = "?"
    body = request.SerializeToString().replace(b"?", b"\xff")

    repaired, texts = repair_text(body, ExportLogsServiceRequest)

    record.severity_text = "\ufffd"
    assert texts == 1
    assert ExportLogsServiceRequest.FromString(repaired) == request


def test_what_is_no_protobuf_cannot_be_repaired() -> None:
    """The parser's error goes on."""
    with pytest.raises(DecodeError):
        repair_text(b"<html>", ExportTraceServiceRequest)


def test_a_body_too_short_for_so_many_messages_is_not_looked_at() -> None:
    """A message takes two bytes at least, so the limit is exact: at it false, behind it true."""
    assert not has_more_messages(b"\x0a\x00" * 1000, ExportTraceServiceRequest, 1000)
    assert has_more_messages(b"\x0a\x00" * 1001, ExportTraceServiceRequest, 1000)


def test_text_deep_inside_is_repaired_and_nothing_else_changes() -> None:
    """The one at fault is found in an event's nested attribute among good neighbours."""
    request = _request(20)
    value = request.resource_spans[0].scope_spans[0].spans[0].events[0].attributes[0].value
    value.array_value.values.add().string_value = "caf~"
    body = request.SerializeToString()

    repaired, texts = repair_text(body.replace(b"caf~", b"caf\xe9"), ExportTraceServiceRequest)

    assert texts == 1
    value.array_value.values[0].string_value = "caf\ufffd"
    assert repaired == request.SerializeToString()
