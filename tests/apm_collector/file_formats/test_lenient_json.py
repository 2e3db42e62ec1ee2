"""What loose OTLP/JSON is converted to, and what is said of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.json_format import MessageToJson
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from apm_collector.file_formats.lenient_json import to_strict

TRACE, SPAN = bytes(range(1, 17)), bytes(range(1, 9))


def _convert(span: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A span after conversion, and the warnings."""
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    warnings: list[str] = []
    to_strict(document, ExportTraceServiceRequest.DESCRIPTOR, warnings.append)
    return document["resourceSpans"][0]["scopeSpans"][0]["spans"][0], warnings


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode], ids=["standard", "url-safe"])
@pytest.mark.parametrize("padding", [True, False], ids=["padded", "unpadded"])
@given(trace=st.binary(min_size=16, max_size=16), span=st.binary(min_size=8, max_size=8))
def test_base64_ids_become_hexadecimal(encode: Callable[..., bytes], padding: bool, trace: bytes, span: bytes) -> None:
    """Ids in protobuf's own JSON mapping are converted in both alphabets, and counted."""
    texts = [encode(one).decode() for one in (trace, span)]
    trace_text, span_text = texts if padding else [text.rstrip("=") for text in texts]

    converted, warnings = _convert({"traceId": trace_text, "spanId": span_text, "links": [{"traceId": trace_text}]})

    assert (converted["traceId"], converted["spanId"]) == (trace.hex(), span.hex())
    assert converted["links"][0]["traceId"] == trace.hex()
    assert warnings == ["base64 ids read as hexadecimal"] * 3


@pytest.mark.parametrize("text", ["", TRACE.hex(), TRACE.hex().upper(), "abc", "zz" * 16, "*" * 24, "a" * 23])
def test_other_ids_stay_as_they_are(text: str) -> None:
    """Hexadecimal ids are right, and what is neither is for the validation to reject."""
    converted, warnings = _convert({"traceId": text})

    assert converted["traceId"] == text
    assert warnings == []


def test_enum_names_become_integers() -> None:
    """Kind and status code by name are converted; a name that is none stays, to be refused."""
    converted, warnings = _convert({"kind": "SPAN_KIND_SERVER", "status": {"code": "STATUS_CODE_ERROR"}})
    unknown, _ = _convert({"kind": "SPAN_KIND_WAITER"})

    assert (converted["kind"], converted["status"]["code"]) == (2, 2)
    assert warnings == ["enum names read as integers"] * 2
    assert unknown["kind"] == "SPAN_KIND_WAITER"


def test_snake_case_keys_become_camel_case() -> None:
    """Keys as in the .proto files are taken; where both stand the proper one wins."""
    converted, warnings = _convert({"start_time_unix_nano": "5", "name": "n", "trace_id": "aa", "traceId": "bb"})

    assert converted == {"startTimeUnixNano": "5", "name": "n", "traceId": "bb"}
    assert warnings == ["snake_case keys read as camelCase"] * 2


def test_keys_of_old_otlp_are_renamed(read: Callable[..., Any]) -> None:
    """Files of the time of instrumentation libraries give their spans and scopes."""
    scope = {"instrumentationLibrary": {"name": "lib"}, "spans": [{"traceId": TRACE.hex(), "spanId": SPAN.hex()}]}

    found = read(json.dumps({"resourceSpans": [{"instrumentationLibrarySpans": [scope]}]}).encode())

    assert found.spans[0].scope.name == "lib"
    assert found.remarks.warnings == {"old keys renamed": 2}


def test_protobufs_own_json_is_read(read: Callable[..., Any]) -> None:
    """What MessageToJson writes – base64 ids, enum names – gives the same request, with warnings."""
    span = {"trace_id": TRACE, "span_id": SPAN, "kind": 3, "name": "call", "status": {"code": 2}}
    request = ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": [span]}]}])

    found = read(MessageToJson(request, preserving_proto_field_name=True).encode())

    assert found.batches[0].request == request
    assert set(found.remarks.warnings) == {
        "base64 ids read as hexadecimal",
        "enum names read as integers",
        "snake_case keys read as camelCase",
    }
