"""OTLP/JSON as written: by the letter of the specification, and the same request when read back."""

from __future__ import annotations

import json
import math

import pytest
from builders import attribute, make_request, make_span
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from apm_collector.file_formats.write_otlp_json import to_json_line
from apm_collector.otlp_json import parse_json

VALUES = st.recursive(
    st.one_of(
        st.text(max_size=20).map(lambda text: AnyValue(string_value=text)),
        st.booleans().map(lambda value: AnyValue(bool_value=value)),
        st.integers(-(2**63), 2**63 - 1).map(lambda value: AnyValue(int_value=value)),
        st.floats(allow_nan=False).map(lambda value: AnyValue(double_value=value)),
        st.binary(max_size=20).map(lambda value: AnyValue(bytes_value=value)),
        st.just(AnyValue()),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: AnyValue(array_value=ArrayValue(values=values))),
        st.dictionaries(st.text(max_size=5), inner, max_size=3).map(
            lambda pairs: AnyValue(
                kvlist_value=KeyValueList(values=[KeyValue(key=key, value=value) for key, value in pairs.items()])
            )
        ),
    ),
    max_leaves=8,
)


def test_ids_numbers_and_enums_are_written_as_otlp_says() -> None:
    """Hex ids, 64-bit integers as strings, enums as integers, camelCase keys, one line."""
    line = to_json_line(make_request([make_span("GET /", parent=2, attributes={"n": 5})]))

    span = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert line.count(b"\n") == 1
    assert (span["traceId"], span["spanId"]) == ("1".zfill(32), "1".zfill(16))
    assert span["parentSpanId"] == "2".zfill(16)
    assert span["startTimeUnixNano"] == "1000000000000"
    assert span["kind"] == 2
    assert span["attributes"] == [{"key": "n", "value": {"intValue": "5"}}]


@given(st.lists(VALUES, max_size=4))
def test_any_value_is_read_back(values: list[AnyValue]) -> None:
    """Whatever an attribute holds, writing and reading gives the same request."""
    span = make_span("s")
    span.attributes.extend(KeyValue(key=f"k{number}", value=value) for number, value in enumerate(values))
    request = make_request([span])

    assert parse_json(to_json_line(request), ExportTraceServiceRequest) == request


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_that_json_does_not_know_are_read_back(value: float) -> None:
    """Infinities and NaN have names in protobuf's JSON."""
    point = {"time_unix_nano": 5, "as_double": value}
    metric = {"name": "m", "gauge": {"data_points": [point]}}
    request = ExportMetricsServiceRequest(resource_metrics=[{"scope_metrics": [{"metrics": [metric]}]}])

    back = parse_json(to_json_line(request), ExportMetricsServiceRequest)

    assert back.SerializeToString() == request.SerializeToString()


def test_the_deepest_value_that_protobuf_allows_is_written() -> None:
    """A request that was stored can be exported, whatever its nesting."""
    value = AnyValue(string_value="deep")
    for _ in range(46):
        value = AnyValue(array_value=ArrayValue(values=[value]))
    request = make_request([make_span("s")])
    request.resource_spans[0].scope_spans[0].spans[0].attributes.append(KeyValue(key="deep", value=value))
    request.resource_spans[0].resource.attributes.append(attribute("b", True))
    request = ExportTraceServiceRequest.FromString(request.SerializeToString())

    assert parse_json(to_json_line(request), ExportTraceServiceRequest) == request
