"""Decoding requests of both encodings, and encoding the responses."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from builders import make_request, make_span
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from apm_collector.errors import PermanentError, TooLargeError
from apm_collector.otlp import Decoded, decode, encode_response
from apm_store.model import Signal


def _to_json(request: Any) -> bytes:
    """A request as OTLP/JSON: protobuf's mapping, but ids in hexadecimal."""

    def hexed(value: Any) -> Any:
        if isinstance(value, list):
            return [hexed(one) for one in value]
        if isinstance(value, dict):
            return {
                k: base64.b64decode(v).hex() if k.lower().endswith("spanid") or k == "traceId" else hexed(v)
                for k, v in value.items()
            }
        return value

    return orjson.dumps(hexed(MessageToDict(request, use_integers_for_enums=True)))


_text = st.text(st.characters(codec="utf-8"), max_size=8)
_values = st.recursive(
    st.one_of(
        st.builds(AnyValue),
        st.builds(AnyValue, string_value=_text),
        st.builds(AnyValue, bool_value=st.booleans()),
        st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1)),
        st.builds(AnyValue, double_value=st.floats(allow_nan=False)),
        st.builds(AnyValue, bytes_value=st.binary(max_size=5)),
    ),
    lambda inner: st.one_of(
        st.builds(AnyValue, array_value=st.builds(ArrayValue, values=st.lists(inner, max_size=3))),
        st.builds(
            AnyValue,
            kvlist_value=st.builds(
                KeyValueList, values=st.lists(st.builds(KeyValue, key=_text, value=inner), max_size=3)
            ),
        ),
    ),
    max_leaves=6,
)
_attributes = st.lists(st.builds(KeyValue, key=_text, value=_values), max_size=3)
_uint64 = st.integers(0, 2**64 - 1)
_spans = st.builds(
    Span,
    trace_id=st.binary(min_size=16, max_size=16).filter(any),
    span_id=st.binary(min_size=8, max_size=8).filter(any),
    parent_span_id=st.sampled_from([b"", b"12345678"]),
    trace_state=_text,
    name=_text,
    kind=st.integers(0, 7),
    flags=st.integers(0, 2**32 - 1),
    start_time_unix_nano=_uint64,
    end_time_unix_nano=_uint64,
    attributes=_attributes,
    dropped_attributes_count=st.integers(0, 2**32 - 1),
)


@given(spans=st.lists(_spans, min_size=1, max_size=3))
def test_json_and_protobuf_say_the_same(spans: list[Span]) -> None:
    """The same request in either encoding becomes the same batch."""
    request = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])])
    body = request.SerializeToString()

    from_protobuf = decode(Signal.TRACES, body, "protobuf")
    from_json = decode(Signal.TRACES, _to_json(request), "json")

    assert from_json.batch is not None
    assert from_protobuf.batch is not None
    assert from_json.batch.request == from_protobuf.batch.request == request
    assert from_json.batch.item_count == len(spans)
    assert from_protobuf.batch.body == body


@given(st.binary(max_size=60), st.sampled_from(list(Signal)), st.sampled_from(["protobuf", "json"]))
def test_any_bytes_are_decoded_or_refused(body: bytes, signal: Signal, encoding: Any) -> None:
    """No body makes anything but a Decoded or a PermanentError."""
    try:
        decoded = decode(signal, body, encoding)
    except PermanentError:
        return

    assert decoded.rejected >= 0


def test_a_valid_protobuf_body_is_kept_byte_for_byte() -> None:
    """Fields that this version does not know stay in the body that is stored."""
    body = make_request([make_span("op")]).SerializeToString() + b"\xfa\x3e\x03new"

    decoded = decode(Signal.TRACES, body, "protobuf")

    assert decoded == Decoded(decoded.batch, 0, "")
    assert decoded.batch is not None
    assert decoded.batch.body == body


def test_a_batch_holds_the_valid_items_alone() -> None:
    """Rejected spans are in neither the request nor the body; the rest is."""
    good, bad = make_span("good"), make_span("bad", span=2)
    bad.span_id = b"short"
    request = make_request([bad, good, bad])

    decoded = decode(Signal.TRACES, request.SerializeToString(), "protobuf")

    assert (decoded.rejected, decoded.causes) == (2, {"invalid_span_id": 2})
    assert decoded.message == "2 spans rejected: span id is 5 bytes, 8 are needed (base64 ids?)"
    assert decoded.batch is not None
    assert decoded.batch.request == make_request([good])
    assert ExportTraceServiceRequest.FromString(decoded.batch.body) == make_request([good])
    assert decoded.batch.item_count == 1


def _value_first(key: bytes, value: bytes) -> bytes:
    """A string attribute of a span whose value stands before its key."""
    pair = b"\x12" + _length(value) + value + b"\x0a" + _length(key) + key
    return b"\x4a" + _length(pair) + pair


@pytest.mark.parametrize("is_canonical", [True, False])
def test_attributes_of_the_kept_body_are_in_protobufs_own_form(is_canonical: bool) -> None:
    """A search may look for an attribute by its bytes, so a body with another order of fields is written anew."""
    attribute = KeyValue(key="k", value=AnyValue(string_value="v")).SerializeToString()
    span = make_span("op").SerializeToString()
    span += b"\x4a" + _length(attribute) + attribute if is_canonical else _value_first(b"k", b"\x0a\x01v")
    scope = b"\x12" + _length(span) + span
    resource = b"\x12" + _length(scope) + scope
    body = b"\x0a" + _length(resource) + resource

    decoded = decode(Signal.TRACES, body, "protobuf")

    assert decoded.batch is not None
    assert (decoded.batch.body == body) is is_canonical
    assert attribute in decoded.batch.body


def test_padded_lengths_around_attributes_do_not_matter() -> None:
    """Some encoders leave four bytes for a length; what is searched for is inside."""
    attribute = KeyValue(key="k", value=AnyValue(string_value="v")).SerializeToString()
    span = make_span("op").SerializeToString() + b"\x4a" + bytes([len(attribute) | 0x80, 0x80, 0x80, 0]) + attribute
    scope = b"\x12" + bytes([len(span) | 0x80, 0x80, 0x80, 0]) + span
    body = b"\x0a" + _length(b"\x12" + _length(scope) + scope) + b"\x12" + _length(scope) + scope

    decoded = decode(Signal.TRACES, body, "protobuf")

    assert decoded.batch is not None
    assert decoded.batch.body == body


def test_without_valid_items_there_is_no_batch() -> None:
    """An empty request, and one whose items are all rejected, leave nothing to store."""
    bad = make_span("bad", trace=0)

    assert decode(Signal.METRICS, b"", "protobuf") == Decoded(None, 0, "")
    assert decode(Signal.LOGS, b"{}", "json") == Decoded(None, 0, "")
    assert decode(Signal.TRACES, make_request([bad]).SerializeToString(), "protobuf").batch is None


def test_one_bad_byte_costs_no_span() -> None:
    """A text that is not UTF-8 is repaired, the sender is told, and the body that is stored can be read."""
    body = make_request([make_span("caf?"), make_span("b", span=2)]).SerializeToString().replace(b"?", b"\xe9")

    decoded = decode(Signal.TRACES, body, "protobuf")

    assert (decoded.rejected, decoded.message) == (0, "texts repaired that were not UTF-8 (1)")
    assert decoded.batch is not None
    assert decoded.batch.item_count == 2
    assert ExportTraceServiceRequest.FromString(decoded.batch.body) == decoded.batch.request


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
@pytest.mark.parametrize(
    ("signal", "limit"), [(Signal.TRACES, 50_000), (Signal.METRICS, 100_000), (Signal.LOGS, 100_000)]
)
def test_a_request_holds_a_limited_number_of_items(signal: Signal, limit: int, encoding: Any) -> None:
    """One more than the limit is too large; the limit itself is judged item by item."""

    def body(items: int) -> bytes:
        request: Any
        if signal is Signal.TRACES:
            request = ExportTraceServiceRequest()
            request.resource_spans.add().scope_spans.add().spans.extend([Span()] * items)
        elif signal is Signal.METRICS:
            request = ExportMetricsServiceRequest()
            gauge = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m").gauge
            gauge.data_points.extend([type(gauge.data_points.add())()] * (items - 1))
        else:
            request = ExportLogsServiceRequest()
            records = request.resource_logs.add().scope_logs.add().log_records
            records.extend([type(records.add())()] * (items - 1))
        return request.SerializeToString() if encoding == "protobuf" else _to_json(request)

    with pytest.raises(TooLargeError, match=f"{limit + 1:,} .* at most {limit:,}"):
        decode(signal, body(limit + 1), encoding)
    decoded = decode(signal, body(limit), encoding)

    assert decoded.rejected + (decoded.batch.item_count if decoded.batch else 0) == limit


@pytest.mark.parametrize(
    ("signal", "body", "noun"),
    [
        (Signal.TRACES, b"\x0a\x00" * 50_001, "50,001 resource spans"),
        (Signal.TRACES, b"\x0a\xa2\x8d\x06" + b"\x12\x00" * 50_001, "50,001 scope spans"),
        (Signal.LOGS, b"\x0a\x00" * 100_001, "100,001 resource logs"),
        (Signal.METRICS, b"\x0a\xc6\x9a\x0c\x12\xc2\x9a\x0c" + b"\x12\x00" * 100_001, "100,001 metrics"),
    ],
)
def test_a_request_holds_a_limited_number_of_empty_groups(signal: Signal, body: bytes, noun: str) -> None:
    """They hold no item, but each of them costs time."""
    with pytest.raises(TooLargeError, match=noun):
        decode(signal, body, "protobuf")


@pytest.mark.parametrize(
    ("body", "encoding"), [(b"\x0a\x00" * 2_000_001, "protobuf"), (b"[" + b"{}," * 2_000_001, "json")]
)
def test_a_body_that_would_swell_in_memory_is_too_large(body: bytes, encoding: Any) -> None:
    """Groups without items count as well."""
    with pytest.raises(TooLargeError, match="in one request"):
        decode(Signal.TRACES, body, encoding)


@pytest.mark.parametrize(("levels", "is_taken"), [(40, True), (60, False)])
def test_nesting_gets_the_same_verdict_in_both_encodings(levels: int, is_taken: bool) -> None:
    """What protobuf cannot read back is refused as JSON too."""
    value: dict[str, Any] = {"stringValue": "x"}
    wire = b"\x0a\x01x"
    for _ in range(levels):
        value = {"arrayValue": {"values": [value]}}
        for tag in (b"\x0a", b"\x2a"):
            wire = tag + _length(wire) + wire
    span = {"traceId": "ab" * 16, "spanId": "cd" * 8, "attributes": [{"key": "k", "value": value}]}
    as_json = orjson.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
    wire = b"\x0a\x01k\x12" + _length(wire) + wire
    wire = b"\x0a\x10" + b"\xab" * 16 + b"\x12\x08" + b"\xcd" * 8 + b"\x4a" + _length(wire) + wire
    for tag in (b"\x12", b"\x12", b"\x0a"):
        wire = tag + _length(wire) + wire

    for body, encoding in ((as_json, "json"), (wire, "protobuf")):
        if is_taken:
            assert decode(Signal.TRACES, body, encoding).batch is not None  # type: ignore[arg-type]
        else:
            with pytest.raises(PermanentError):
                decode(Signal.TRACES, body, encoding)  # type: ignore[arg-type]


def _length(data: bytes) -> bytes:
    """A length prefix."""
    size, out = len(data), b""
    while size > 0x7F:
        out += bytes([size & 0x7F | 0x80])
        size >>= 7
    return out + bytes([size])


def test_full_success_leaves_partial_success_unset() -> None:
    """The response is empty in either encoding."""
    done = Decoded(None, 0, "")

    assert encode_response(Signal.TRACES, done, "protobuf") == b""
    assert encode_response(Signal.TRACES, done, "json") == b"{}"


@pytest.mark.parametrize(
    ("signal", "key"),
    [
        (Signal.TRACES, "rejectedSpans"),
        (Signal.METRICS, "rejectedDataPoints"),
        (Signal.LOGS, "rejectedLogRecords"),
    ],
)
def test_partial_success_counts_what_was_rejected(signal: Signal, key: str) -> None:
    """JSON carries the count as text, under the signal's own name."""
    body = encode_response(signal, Decoded(None, 3, "why"), "json")

    assert orjson.loads(body) == {"partialSuccess": {key: "3", "errorMessage": "why"}}


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_a_long_message_is_cut(encoding: Any) -> None:
    """A response stays far below 4 MiB whatever there is to tell."""
    body = encode_response(Signal.TRACES, Decoded(None, 3, "x" * 100_000), encoding)

    assert len(body) < 1_100


def test_a_remark_comes_with_no_rejected_items() -> None:
    """Zero rejected and a message is OTLP's form of a warning."""
    response: Any = ExportTraceServiceResponse.FromString(
        encode_response(Signal.TRACES, Decoded(None, 0, "a remark"), "protobuf")
    )

    assert response.partial_success.rejected_spans == 0
    assert response.partial_success.error_message == "a remark"


def test_json_of_something_else_is_refused() -> None:
    """Unknown keys are ignored beside known ones, but a body of unknown keys alone is not OTLP; an empty one is."""
    with pytest.raises(PermanentError, match="it has no resourceSpans"):
        decode(Signal.TRACES, b'{"resourceLogs": []}', "json")

    assert decode(Signal.TRACES, b" { } ", "json") == Decoded(None, 0, "")
    assert decode(Signal.TRACES, b'{"resourceSpans": [], "more": 1}', "json") == Decoded(None, 0, "")
