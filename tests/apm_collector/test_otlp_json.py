"""OTLP/JSON: OTLP's own rules over protobuf's JSON mapping."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from apm_collector.otlp_json import NOT_HEX, has_many_values, parse_json


def _span(**fields: Any) -> Any:
    """The protobuf span that a JSON span becomes."""
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [fields]}]}]}
    request: Any = parse_json(orjson.dumps(document), ExportTraceServiceRequest)
    return request.resource_spans[0].scope_spans[0].spans[0]


def _value(**value: Any) -> Any:
    return _span(attributes=[{"key": "k", "value": value}]).attributes[0].value


def _number(**fields: Any) -> Any:
    document = {
        "resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", "gauge": {"dataPoints": [fields]}}]}]}]
    }
    request: Any = parse_json(orjson.dumps(document), ExportMetricsServiceRequest)
    return request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]


@pytest.mark.parametrize("text", ["5B8EFFF798038103D269B633813FC60C", "5b8efff798038103d269b633813fc60c"])
def test_ids_are_hexadecimal_in_any_case(text: str) -> None:
    """Upper and lower case give the same 16 bytes."""
    assert _span(traceId=text).trace_id.hex() == text.lower()


@pytest.mark.parametrize("text", ["W47/95gDgQPSabYzgT/GDA==", "xyz", "abc", "00 11", "٠٠"])
def test_an_id_that_is_not_hexadecimal_is_marked(text: str) -> None:
    """Base64, odd length, spaces and foreign digits never become an id of a valid length."""
    assert _span(traceId=text, spanId=text).trace_id == NOT_HEX


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 0, -1])
def test_64_bit_integers_are_exact_as_text_and_as_numbers(number: int) -> None:
    """Both forms are read without a loss."""
    assert _value(intValue=str(number)).int_value == _value(intValue=number).int_value == number


@pytest.mark.parametrize(
    ("text", "number"),
    [("NaN", math.nan), ("Infinity", math.inf), ("-Infinity", -math.inf), ("1.5e3", 1500.0), (2, 2.0)],
)
def test_doubles_are_numbers_or_their_names(text: Any, number: float) -> None:
    """The three special values come as text."""
    assert _value(doubleValue=text).double_value == pytest.approx(number, nan_ok=True)


@pytest.mark.parametrize("text", ["-_8=", "-_8", "+/8="])
def test_bytes_are_base64_of_either_alphabet(text: str) -> None:
    """With and without padding."""
    assert _value(bytesValue=text).bytes_value == b"\xfb\xff"


def test_all_forms_of_a_value_are_read() -> None:
    """Empty values keep their type, lists and maps nest, no value at all is an empty AnyValue."""
    inner = [{"stringValue": ""}, {"boolValue": False}, {}, {"kvlistValue": {"values": [{"key": "a", "value": {}}]}}]

    value = _value(arrayValue={"values": inner})

    forms = [one.WhichOneof("value") for one in value.array_value.values]
    assert forms == ["string_value", "bool_value", None, "kvlist_value"]
    assert value.array_value.values[3].kvlist_value.values[0].HasField("value")


def test_unknown_and_proto_names_are_ignored() -> None:
    """Unknown keys, and field names as the .proto file writes them, change nothing."""
    span = _span(name="n", start_time_unix_nano="5", trace_id="00", whatever={"deep": [1]}, kind=99)

    assert (span.name, span.start_time_unix_nano, span.trace_id, span.kind) == ("n", 0, b"", 99)


def test_null_is_absent() -> None:
    """A null stands for a field that is not there, also for a list."""
    span = _span(name=None, attributes=None, status=None)

    assert span == type(span)()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"kind": "SPAN_KIND_SERVER"},
            "spans.kind: enums are integers in OTLP/JSON, not names like 'SPAN_",
        ),
        ({"kind": 2**31}, "spans.kind: an integer from"),
        ({"kind": True}, "spans.kind: an integer from"),
        ({"name": 5}, "spans.name: a string is needed, not a number"),
        ({"traceId": []}, "spans.traceId: a string is needed, not a list"),
        ({"attributes": {}}, "spans.attributes: a list is needed, not an object"),
        ({"attributes": [None]}, "spans.attributes: an object is needed, not null"),
        ({"status": "ok"}, "spans.status: an object is needed, not a string"),
        ({"startTimeUnixNano": "-1"}, "spans.startTimeUnixNano: an integer from 0 to 18446744073709551615 is needed"),
        ({"startTimeUnixNano": "18446744073709551616"}, "startTimeUnixNano: an integer from"),
        ({"startTimeUnixNano": 1.5}, "startTimeUnixNano: an integer from"),
        ({"startTimeUnixNano": "1" * 50}, "startTimeUnixNano: an integer from .*…"),
        ({"flags": "4294967296"}, "spans.flags: an integer from 0 to 4294967295"),
        ({"attributes": [{"value": {"boolValue": "true"}}]}, "value.boolValue: a boolean is needed, not a string"),
        ({"attributes": [{"value": {"bytesValue": "%%"}}]}, "value.bytesValue: base64 is needed"),
        ({"attributes": [{"value": {"doubleValue": "nan"}}]}, "value.doubleValue: a number is needed, not 'nan'"),
        ({"attributes": [{"value": {"doubleValue": "0x1"}}]}, "value.doubleValue: a number is needed"),
        ({"attributes": [{"value": {"doubleValue": False}}]}, "value.doubleValue: a number is needed, not False"),
    ],
)
def test_a_wrong_value_is_named_by_its_key(fields: dict[str, Any], problem: str) -> None:
    """The error gives the path of the key and what is needed there."""
    with pytest.raises(ValueError, match=problem):
        _span(**fields)


def test_nesting_ends_at_100_levels() -> None:
    """Deep nesting is an error of the data, not of the interpreter."""
    value: dict[str, Any] = {"stringValue": "x"}
    for _ in range(60):
        value = {"arrayValue": {"values": [value]}}

    with pytest.raises(ValueError, match="more than 100 levels"):
        _value(**value)


def test_fixed_64_bit_counts_are_read_from_text() -> None:
    """AsInt and timeUnixNano of a data point take text, as JavaScript sends it."""
    point = _number(asInt="-5", timeUnixNano="18446744073709551615")

    assert (point.as_int, point.time_unix_nano) == (-5, 2**64 - 1)


def test_a_body_of_very_many_values_is_known_by_its_bytes() -> None:
    """Commas and opening brackets bound how many values there are."""
    assert has_many_values(b"[" + b"{}," * 2_000_001)
    assert not has_many_values(b"[" + b"{}," * 1_000_000)
