"""The parts of a serialised message are found where protobuf finds them."""

from __future__ import annotations

import pytest
from builders import make_request, make_span
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from apm_store.sqlite.wire_format import submessages


def _parts(content: bytes, field: int) -> list[bytes]:
    return [content[start:end] for start, end in submessages(content, 0, len(content), field)]


def test_spans_are_found_in_a_request() -> None:
    """Following the fields of resource and scope gives the bytes of each span, however long."""
    spans = [make_span("x" * size, span=size + 1) for size in (0, 1, 100, 200, 20_000)]
    content = make_request(spans).SerializeToString()

    found = [
        content[start:end]
        for group in submessages(content, 0, len(content), ExportTraceServiceRequest.RESOURCE_SPANS_FIELD_NUMBER)
        for scope in submessages(content, *group, ResourceSpans.SCOPE_SPANS_FIELD_NUMBER)
        for start, end in submessages(content, *scope, ScopeSpans.SPANS_FIELD_NUMBER)
    ]

    assert [Span.FromString(part) for part in found] == spans


@pytest.mark.parametrize(
    "other",
    [
        b"\x08\x96\x01",  # a varint
        b"\x09" + bytes(8),
        b"\x0d" + bytes(4),
        b"\x0a\x02\x12\x00",  # another field, which looks like the wanted one inside
        b"\x0b\x12\x01z\x0c",  # a group that holds a field with the wanted number
        b"\xfa\xff\x03\x01z",  # a field number of several bytes
    ],
)
def test_other_fields_are_passed_over(other: bytes) -> None:
    """Whatever stands before, between and behind the wanted values, only these are given."""
    content = other + b"\x12\x01a" + other + b"\x12\x81\x00b" + other  # the second length is padded

    assert _parts(content, 2) == [b"a", b"b"]
