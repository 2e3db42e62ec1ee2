"""OTLP/JSON (O16), rule by rule: hexadecimal ids, integer enums, 64-bit integers, unknown fields."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from apm_store.model import Signal, Span
from apm_store.query import LogQuery, TimeRange

TRACE_ID, SPAN_ID = "0123456789abcdef0123456789abcdef", "0123456789abcdef"
ALL_TIME = TimeRange(0, 2**63 - 1)


def _send(live: Any, **fields: Any) -> Any:
    """Send one span with these JSON fields over good ones."""
    span = {"traceId": TRACE_ID, "spanId": SPAN_ID, "name": "op", **fields}
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    return live.post(Signal.TRACES, orjson.dumps(document), "json")


def _stored(live: Any) -> Span:
    (span,) = live.store.traces.get(TRACE_ID)
    return span


def _attribute(value: Any) -> list[dict[str, Any]]:
    return [{"key": "k", "value": value}]


@pytest.mark.parametrize("spelling", [str.upper, str.lower, str.title])
def test_o16_ids_are_hex_in_any_case(spelling: Any, live: Any) -> None:
    """They are stored in lower case."""
    reply = _send(live, traceId=spelling(TRACE_ID), spanId=spelling(SPAN_ID), parentSpanId=spelling("ab" * 8))

    span = _stored(live)
    assert (reply.status, reply.body) == (200, b"{}")
    assert (span.trace_id, span.span_id, span.parent_span_id) == (TRACE_ID, SPAN_ID, "ab" * 8)


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"traceId": "ASNFZ4mrze8BI0VniavN7w=="}, "trace id is not hexadecimal (base64 ids?)"),
        ({"traceId": "W47/9eA1lZo="}, "trace id is not hexadecimal (base64 ids?)"),
        ({"traceId": TRACE_ID[:-2]}, "trace id is 15 bytes, 16 are needed (base64 ids?)"),
        ({"traceId": TRACE_ID[:-1]}, "trace id is not hexadecimal (base64 ids?)"),
        ({"traceId": ""}, "trace id is empty"),
        ({"traceId": "0" * 32}, "trace id is all zero"),
        ({"traceId": " " + TRACE_ID[1:]}, "trace id is not hexadecimal (base64 ids?)"),
        ({"spanId": "0" * 16}, "span id is all zero"),
        ({"spanId": ""}, "span id is empty"),
    ],
)
def test_o16_other_ids_reject_the_item_with_the_cause(fields: dict[str, str], cause: str, live: Any) -> None:
    """The request itself succeeds."""
    reply = _send(live, **fields)

    partial = orjson.loads(reply.body)["partialSuccess"]
    assert reply.status == 200
    assert partial == {"rejectedSpans": "1", "errorMessage": f"1 span rejected: {cause}"}
    assert live.stored() == 0


@pytest.mark.parametrize(
    "fields", [{"kind": "SPAN_KIND_SERVER"}, {"kind": "2"}, {"status": {"code": "STATUS_CODE_ERROR"}}]
)
def test_o16_enum_names_are_400(fields: dict[str, Any], live: Any) -> None:
    """Enums are integers; the message names the key."""
    reply = _send(live, **fields)

    assert reply.status == 400
    assert "enums are integers" in reply.rpc_status.message
    assert live.stored() == 0


def test_o16_unknown_enum_numbers_are_kept(live: Any) -> None:
    """A newer sender may know more kinds."""
    assert _send(live, kind=99, status={"code": 77}).status == 200

    span = _stored(live)
    assert (span.kind, span.status_code) == (99, 77)


@pytest.mark.parametrize("unknown", [None, 1, "x", [], {}, [{"deep": [{}]}], {"traceId": 7}])
def test_o16_unknown_fields_are_ignored(unknown: Any, live: Any) -> None:
    """Of any type, at any level."""
    span = {"traceId": TRACE_ID, "spanId": SPAN_ID, "zzz": unknown, "status": {"zzz": unknown}}
    scope = {"spans": [span], "zzz": unknown, "scope": {"zzz": unknown}}
    document = {"resourceSpans": [{"scopeSpans": [scope], "zzz": unknown}], "zzz": unknown}

    reply = live.post(Signal.TRACES, orjson.dumps(document), "json")

    assert (reply.status, reply.body) == (200, b"{}")
    assert live.stored() == 1


def test_o16_original_field_names_are_unknown(live: Any) -> None:
    """Keys are lowerCamelCase; `start_time_unix_nano` is none."""
    assert _send(live, start_time_unix_nano="5", startTimeUnixNano="3").status == 200

    assert _stored(live).start_ns == 3


@pytest.mark.parametrize("number", [0, 1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), -1])
@pytest.mark.parametrize("form", [str, int])
def test_o16_64_bit_integers_are_strings_or_numbers(number: int, form: Any, live: Any) -> None:
    """Exact at both ends."""
    assert _send(live, attributes=_attribute({"intValue": form(number)})).status == 200

    assert _stored(live).attributes == {"k": number}


@pytest.mark.parametrize("time", ["1790000000000000001", 1790000000000000001])
def test_o16_times_are_strings_or_numbers(time: Any, live: Any) -> None:
    """To the nanosecond."""
    assert _send(live, startTimeUnixNano=time, endTimeUnixNano=time).status == 200

    assert _stored(live).start_ns == 1790000000000000001


@pytest.mark.parametrize(
    "value",
    [
        {"intValue": "9223372036854775808"},
        {"intValue": "1.5"},
        {"intValue": "0x10"},
        {"intValue": ""},
        {"intValue": True},
        {"intValue": 1.5},
        {"boolValue": "true"},
        {"boolValue": 1},
        {"doubleValue": "abc"},
        {"doubleValue": True},
        {"stringValue": 1},
        {"bytesValue": "***"},
        {"arrayValue": []},
        {"kvlistValue": {"values": {}}},
    ],
)
def test_o16_values_of_the_wrong_type_are_400_naming_the_key(value: dict[str, Any], live: Any) -> None:
    """The path of the key is in the message."""
    reply = _send(live, attributes=_attribute(value))

    assert reply.status == 400
    assert f"resourceSpans.scopeSpans.spans.attributes.value.{next(iter(value))}" in reply.rpc_status.message


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({"stringValue": "ä\u0000🎉"}, "ä\u0000🎉"),
        ({"boolValue": False}, False),
        ({"doubleValue": 0.1}, 0.1),
        ({"doubleValue": "Infinity"}, float("inf")),
        ({"doubleValue": "-Infinity"}, float("-inf")),
        ({"doubleValue": "1e3"}, 1000.0),
        ({"doubleValue": 3}, 3.0),
        ({"bytesValue": "AP/+"}, b"\x00\xff\xfe"),
        ({"bytesValue": "AP_-"}, b"\x00\xff\xfe"),
        ({"bytesValue": "AA"}, b"\x00"),
        ({"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "x"}, {}]}}, (1, "x", None)),
        ({"arrayValue": {}}, ()),
        ({"kvlistValue": {"values": [{"key": "a", "value": {"boolValue": True}}]}}, {"a": True}),
        ({}, None),
    ],
)
def test_o16_every_kind_of_value_is_kept_with_its_type(value: dict[str, Any], stored: Any, live: Any) -> None:
    """Any AnyValue may sit in any attribute."""
    assert _send(live, attributes=_attribute(value)).status == 200

    read = _stored(live).attributes["k"]
    assert read == stored
    assert type(read) is type(stored)


@pytest.mark.parametrize("absent", [None])
@pytest.mark.parametrize("key", ["attributes", "events", "links", "status", "kind", "name", "flags", "parentSpanId"])
def test_o16_null_is_absent(key: str, absent: None, live: Any) -> None:
    """As the protobuf JSON mapping says."""
    assert _send(live, **{key: absent}).status == 200
    assert live.stored() == 1


def test_o16_equal_attribute_keys_have_one_verdict_in_both_encodings(live: Any) -> None:
    """The last one counts."""
    pairs = [{"key": "k", "value": {"stringValue": text}} for text in ("first", "last")]

    assert _send(live, attributes=pairs).status == 200

    assert _stored(live).attributes == {"k": "last"}


def test_o16_string_table_indexes_of_profiles_are_ignored(live: Any) -> None:
    """Outside profiles there is no string table: the attribute stays, its value is empty."""
    assert _send(live, attributes=_attribute({"stringValueStrindex": 3})).status == 200

    assert _stored(live).attributes == {"k": None}


@pytest.mark.parametrize(
    "document",
    [b"", b"null", b"[]", b'"x"', b"1", b"{}{}", b"{} x", b'{"resourceSpans":[}', b"\xff\xfe{\x00}\x00", b'{"a":NaN}'],
)
def test_o16_what_is_no_json_object_is_400(document: bytes, live: Any) -> None:
    """One document, an object, UTF-8, no NaN."""
    assert live.post(Signal.TRACES, document, "json").status == 400


@pytest.mark.parametrize("document", [b"[" * 100_000, b'{"a":' * 50_000, b'{"a":' + b"9" * 5_000 + b"}"])
def test_o16_what_breaks_parsers_is_400(document: bytes, live: Any) -> None:
    """Deep nesting and huge numbers; the server lives on."""
    assert live.post(Signal.TRACES, document, "json").status == 400
    assert _send(live).status == 200


def test_o16_logs_keep_their_body_of_any_kind(live: Any) -> None:
    """A map with a list in it comes back as one."""
    body = {"kvlistValue": {"values": _attribute({"arrayValue": {"values": [{"intValue": "7"}]}})}}
    record = {"timeUnixNano": "9", "body": body, "severityNumber": 9, "traceId": TRACE_ID, "spanId": SPAN_ID}
    document = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}

    assert live.post(Signal.LOGS, orjson.dumps(document), "json").status == 200

    (log,) = live.store.logs.find(LogQuery(ALL_TIME))
    assert (log.body, log.severity_number, log.trace_id, log.span_id) == ({"k": (7,)}, 9, TRACE_ID, SPAN_ID)
