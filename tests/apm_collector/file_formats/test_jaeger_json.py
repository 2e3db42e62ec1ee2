"""Jaeger's JSON becomes OTLP by OpenTelemetry's mapping, field by field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apm_collector.file_formats.contents import FileFormatError
from apm_store.model import SpanKind, StatusCode

TRACE = "0af7651916cd43dd8448eb211c80319c"
PROCESS = {
    "serviceName": "checkout",
    "tags": [{"key": "hostname", "type": "string", "value": "h1"}, {"key": "pid", "type": "int64", "value": 7}],
}


def tag(key: str, value: Any, kind: str = "string") -> dict[str, Any]:
    """One tag."""
    return {"key": key, "type": kind, "value": value}


def make_file(*spans: dict[str, Any]) -> bytes:
    """An answer of Jaeger's API with one trace."""
    made = [
        {"traceID": TRACE, "spanID": "00f067aa0ba902b7", "operationName": "op", "processID": "p1"}
        | {"startTime": 1_700_000_000_000_001, "duration": 2_500, "tags": [], "logs": [], "references": []}
        | span
        for span in spans
    ]
    trace = {"traceID": TRACE, "spans": made, "processes": {"p1": PROCESS}, "warnings": None}
    return json.dumps({"data": [trace], "total": 0, "errors": None}).encode()


def test_a_span_keeps_its_fields(read: Callable[..., Any]) -> None:
    """Ids, name, microseconds, flags and the process come over."""
    found = read(make_file({"flags": 1}))

    (span,) = found.spans
    assert found.format_name == "jaeger-json"
    assert (span.trace_id, span.span_id, span.parent_span_id) == (TRACE, "00f067aa0ba902b7", "")
    assert (span.name, span.start_ns, span.duration_ns) == ("op", 1_700_000_000_000_001_000, 2_500_000)
    assert span.resource.attributes == {"service.name": "checkout", "pid": 7, "host.name": "h1"}
    assert (span.kind, span.status_code, span.flags) == (SpanKind.INTERNAL, StatusCode.UNSET, 1)


def test_tags_keep_their_types(read: Callable[..., Any]) -> None:
    """Numbers and booleans written as text get the type that their tag names; binary is base64."""
    tags = [
        tag("text", "5"),
        tag("number", "9007199254740993", "int64"),
        tag("float", 2, "float64"),
        tag("true", "true", "bool"),
        tag("false", False, "bool"),
        tag("bytes", "AQI=", "binary"),
        tag("odd", "five", "int64"),
        tag("object", {"a": [1]}, "string"),
    ]

    (span,) = read(make_file({"tags": tags})).spans

    assert span.attributes == {
        "text": "5",
        "number": 9007199254740993,
        "float": 2.0,
        "true": True,
        "false": False,
        "bytes": b"\x01\x02",
        "odd": "five",
        "object": '{"a":[1]}',
    }
    assert isinstance(span.attributes["float"], float)


@pytest.mark.parametrize("kind", ["SERVER", "CLIENT", "PRODUCER", "CONSUMER", "INTERNAL"])
def test_span_kind_is_a_tag(kind: str, read: Callable[..., Any]) -> None:
    """The tag span.kind becomes the kind and is gone."""
    (span,) = read(make_file({"tags": [tag("span.kind", kind.lower())]})).spans

    assert span.kind == SpanKind[kind]
    assert span.attributes == {}


@pytest.mark.parametrize(
    ("tags", "code", "message", "left"),
    [
        ([tag("error", True, "bool")], StatusCode.ERROR, "", {}),
        ([tag("error", "true", "bool")], StatusCode.ERROR, "", {}),
        ([tag("error", "true")], StatusCode.ERROR, "", {}),
        ([tag("error", False, "bool")], StatusCode.UNSET, "", {"error": False}),
        ([tag("otel.status_code", "OK")], StatusCode.OK, "", {}),
        (
            [tag("otel.status_code", "ERROR"), tag("otel.status_description", "boom")],
            StatusCode.ERROR,
            "boom",
            {},
        ),
        ([tag("otel.status_code", "OK"), tag("error", True, "bool")], StatusCode.ERROR, "", {}),
    ],
)
def test_status_comes_from_tags(
    tags: list[dict[str, Any]], code: StatusCode, message: str, left: dict[str, Any], read: Callable[..., Any]
) -> None:
    """The error tag and otel.status_code set the status; error wins."""
    (span,) = read(make_file({"tags": tags})).spans

    assert (span.status_code, span.status_message, span.attributes) == (code, message, left)


def test_child_of_is_the_parent_and_other_references_are_links(read: Callable[..., Any]) -> None:
    """CHILD_OF in the same trace is the parent, wherever it stands; the rest are links with their type."""
    references = [
        {"refType": "FOLLOWS_FROM", "traceID": TRACE, "spanID": "a1"},
        {"refType": "CHILD_OF", "traceID": "ff", "spanID": "a2"},
        {"refType": "CHILD_OF", "traceID": TRACE, "spanID": "a3"},
    ]

    (span,) = read(make_file({"references": references})).spans

    assert span.parent_span_id == "00000000000000a3"
    assert [(link.trace_id, link.span_id, link.attributes) for link in span.links] == [
        (TRACE, "00000000000000a1", {"opentracing.ref_type": "follows_from"}),
        ("ff".zfill(32), "00000000000000a2", {"opentracing.ref_type": "child_of"}),
    ]


def test_follows_from_stands_in_for_a_missing_parent(read: Callable[..., Any]) -> None:
    """As in Jaeger itself, a span that only follows from another of its trace hangs below that one, and links to it."""
    references = [{"refType": "FOLLOWS_FROM", "traceID": TRACE, "spanID": "a1"}]

    (span,) = read(make_file({"references": references})).spans

    assert span.parent_span_id == "00000000000000a1"
    assert [link.span_id for link in span.links] == ["00000000000000a1"]


def test_logs_become_events(read: Callable[..., Any]) -> None:
    """The field `event` names the event; the others are its attributes."""
    logs = [
        {"timestamp": 1_700_000_000_000_500, "fields": [tag("event", "retry"), tag("n", 2, "int64")]},
        {"timestamp": 1_700_000_000_000_600, "fields": [tag("message", "hi")]},
    ]

    (span,) = read(make_file({"logs": logs})).spans

    assert [(event.time_ns, event.name, event.attributes) for event in span.events] == [
        (1_700_000_000_000_500_000, "retry", {"n": 2}),
        (1_700_000_000_000_600_000, "log", {"message": "hi"}),
    ]


def test_scope_trace_state_and_warnings_come_over(read: Callable[..., Any]) -> None:
    """Tags that OpenTelemetry's exporter made become fields again; Jaeger's warnings become an attribute."""
    tags = [tag("otel.library.name", "lib"), tag("otel.scope.version", "2"), tag("w3c.tracestate", "a=b")]

    (span,) = read(make_file({"tags": tags, "warnings": ["clock skew"]})).spans

    assert (span.scope.name, span.scope.version, span.trace_state) == ("lib", "2", "a=b")
    assert span.attributes == {"@jaeger@warnings": ("clock skew",)}


def test_short_ids_get_their_leading_zeros(read: Callable[..., Any]) -> None:
    """Jaeger leaves out leading zeros and has 64-bit trace ids."""
    (span,) = read(make_file({"traceID": "2be38093ead7a08", "spanID": "bd6"})).spans

    assert (span.trace_id, span.span_id) == ("2be38093ead7a08".zfill(32), "bd6".zfill(16))


def test_one_trace_and_lists_are_read_too(read: Callable[..., Any]) -> None:
    """A trace without the envelope, a list of traces, and spans that carry their process."""
    trace = json.loads(make_file({}))["data"][0]
    span = trace["spans"][0] | {"process": PROCESS, "processID": ""}

    for shape in (trace, [trace], [span]):
        assert [one.service for one in read(json.dumps(shape).encode()).spans] == ["checkout"]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"startTime": None}, "startTime is missing"),
        ({"duration": "invalid"}, "duration is no number of microseconds"),
        ({"startTime": -1}, "startTime is no number of microseconds"),
        ({"startTime": 2**63}, "startTime is no number of microseconds"),
        ({"spanID": "xyz"}, "spanID is not an id"),
        ({"spanID": 5}, "spanID is not a string"),
        ({"spanID": ""}, "span id is empty"),
        ({"tags": [7]}, "tags is not a list of objects"),
        ({"tags": [{"key": 7, "value": 1}]}, "key is not a string"),
        ({"logs": {"a": 1}}, "logs is not a list of objects"),
        ({"references": [{"traceID": "zz", "spanID": "1"}]}, "traceID is not an id"),
        ({"process": 7, "processID": ""}, "process is not an object"),
    ],
)
def test_a_bad_span_is_rejected_alone(change: dict[str, Any], cause: str, read: Callable[..., Any]) -> None:
    """A span that cannot be converted is counted with its cause; its neighbour is read."""
    found = read(make_file(change, {"spanID": "2"}))

    assert len(found.spans) == found.remarks.rejected == 1
    assert cause in next(iter(found.remarks.notes))


@pytest.mark.parametrize("document", [7, {"data": 7}, {"data": [7]}, {"spans": 7}, {"traceID": "a"}, {"data": ["x"]}])
def test_other_shapes_are_refused(document: Any, read: Callable[..., Any]) -> None:
    """What is no Jaeger file is told what one looks like."""
    with pytest.raises(FileFormatError, match="Jaeger file"):
        read(json.dumps(document).encode(), "jaeger-json")


def test_jaegers_own_fixtures(fixtures: Path, read: Callable[..., Any]) -> None:
    """The good file of Jaeger's anonymizer gives its two spans; each bad one gives a cause and nothing else."""
    folder = fixtures / "05-anonymizer-bad-json"
    good = read((folder / "trace_success.json").read_bytes())
    invalid = read((folder / "trace_invalid_json.json").read_bytes())

    assert [(span.service, span.is_error) for span in good.spans] == [
        ("16af988c443cff37", False),
        ("3c220036602f839e", True),
    ]
    assert (invalid.batches, invalid.remarks.rejected) == ([], 1)
    for name in ("trace_empty.json", "trace_scan_error.json", "trace_wrong_format.json"):
        with pytest.raises(FileFormatError):
            read((folder / name).read_bytes())
