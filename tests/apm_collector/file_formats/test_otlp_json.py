"""OTLP JSON and JSON lines, strict and loose, whole and broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apm_collector.file_formats import otlp_json
from apm_collector.file_formats.contents import FileFormatError
from apm_store.model import Signal

TRACE_ID, SPAN_ID = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
ALL = [
    ("01-otlp-proto-examples/trace.json", Signal.TRACES, 1),
    ("01-otlp-proto-examples/metrics.json", Signal.METRICS, 4),
    ("01-otlp-proto-examples/logs.json", Signal.LOGS, 1),
    ("01-otlp-proto-examples/events.json", Signal.LOGS, 1),
    ("12-otelite/sample_traces.json", Signal.TRACES, 1),
    ("12-otelite/sample_metrics.json", Signal.METRICS, 1),
    ("12-otelite/sample_logs.json", Signal.LOGS, 1),
    ("16-otlp-jsonl-file-exporter/resourceSpans.jsonl", Signal.TRACES, 0),
    ("16-otlp-jsonl-file-exporter/resourceMetrics.jsonl", Signal.METRICS, 16),
    ("16-otlp-jsonl-file-exporter/resourceLogs.jsonl", Signal.LOGS, 8),
]


def make_line(*spans: dict[str, Any], **more: Any) -> bytes:
    """One line of a JSON lines file with some spans."""
    made = [
        {"traceId": TRACE_ID, "spanId": SPAN_ID, "name": "a", "startTimeUnixNano": "1000", **span} for span in spans
    ]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": made}]}], **more}).encode() + b"\n"


@pytest.mark.parametrize(("name", "signal", "items"), ALL, ids=[name for name, *_ in ALL])
def test_every_valid_item_of_a_file_is_read(
    name: str, signal: Signal, items: int, fixtures: Path, read: Callable[..., Any]
) -> None:
    """The examples of other projects give all their valid items, and no fault."""
    found = read((fixtures / name).read_bytes())

    assert found.format_name == ("otlp-jsonl" if name.endswith("jsonl") else "otlp-json")
    assert found.items(signal) == items
    assert (found.remarks.faults, found.remarks.warnings) == (0, {})


def test_invalid_items_are_counted_with_their_line(fixtures: Path, read: Callable[..., Any]) -> None:
    """The specification's example spans have empty ids: all 8 are rejected, each line says why."""
    found = read((fixtures / "16-otlp-jsonl-file-exporter/resourceSpans.jsonl").read_bytes())

    assert found.remarks.rejected == 8
    assert list(found.remarks.notes)[2] == "line 3: 2 spans rejected: trace id is empty"


def test_signals_may_be_mixed(fixtures: Path, read: Callable[..., Any]) -> None:
    """Lines of all signals in one file are told apart by themselves."""
    names = ("resourceSpans", "resourceMetrics", "resourceLogs")
    files = [(fixtures / f"16-otlp-jsonl-file-exporter/{name}.jsonl").read_bytes() for name in names]

    found = read(make_line({}) + b"".join(files))

    assert [found.items(signal) for signal in Signal] == [1, 16, 8]


def test_one_object_may_hold_several_signals(read: Callable[..., Any]) -> None:
    """Spans and log records in one object are two requests."""
    logs = [{"scopeLogs": [{"logRecords": [{"timeUnixNano": "5", "body": {"stringValue": "hi"}}]}]}]

    found = read(make_line({}, resourceLogs=logs))

    assert (found.items(Signal.TRACES), found.items(Signal.LOGS)) == (1, 1)


def test_a_document_may_be_a_list_of_requests(read: Callable[..., Any]) -> None:
    """A JSON array of requests is read element by element."""
    found = read(b"[" + make_line({}) + b"," + make_line({}, {"spanId": "ff" * 8}) + b"]")

    assert found.format_name == "otlp-json"
    assert found.items(Signal.TRACES) == 3


@pytest.mark.parametrize(
    "bad",
    [b"{not json\n", b"[1, 2]\n", b"null\n", b'{"some": "thing"}\n', b'{"resourceSpans": 7}\n', b"{" * 5000 + b"\n"],
    ids=["no JSON", "a list", "null", "no telemetry", "wrong type", "deep"],
)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_bad_line_costs_no_other_line(bad: bytes, position: int, read: Callable[..., Any]) -> None:
    """A line that cannot be read is a fault with its number, wherever it stands."""
    lines = [make_line({"spanId": f"{number:016x}"}) for number in (1, 2)]
    lines.insert(position, bad)

    found = read(b"".join(lines), "otlp-jsonl")

    assert found.items(Signal.TRACES) == 2
    assert found.remarks.faults == 1
    assert next(iter(found.remarks.notes)).startswith(f"line {position + 1}: ")


def test_json_lines_with_a_broken_first_line_are_still_recognised(read: Callable[..., Any]) -> None:
    """The format is told by the other lines."""
    found = read(b'{"resourceSpans": [{"scope\n' + make_line({}))

    assert found.format_name == "otlp-jsonl"
    assert found.items(Signal.TRACES) == 1


def test_a_deeply_nested_line_is_a_fault(read: Callable[..., Any]) -> None:
    """Values nested 5,000 levels deep are refused without a traceback."""
    deep = b'{"arrayValue":{"values":[' * 5000 + b"]}}" * 5000
    line = b'{"resourceSpans":[{"resource":{"attributes":[{"key":"k","value":' + deep + b"}]}}]}\n"

    found = read(line + make_line({}))

    assert (found.items(Signal.TRACES), found.remarks.faults) == (1, 1)


def test_levels_that_json_allows_but_otlp_does_not_are_a_fault(read: Callable[..., Any]) -> None:
    """Values nested 300 levels deep parse as JSON and are refused as OTLP."""
    deep = b'{"arrayValue":{"values":[' * 300 + b"]}}" * 300
    line = b'{"resourceSpans":[{"resource":{"attributes":[{"key":"k","value":' + deep + b"}]}}]}\n"

    found = read(line + make_line({}))

    assert (found.items(Signal.TRACES), found.remarks.faults) == (1, 1)
    assert "100 levels" in next(iter(found.remarks.notes))


def test_a_line_that_is_too_long_is_skipped(monkeypatch: pytest.MonkeyPatch, read: Callable[..., Any]) -> None:
    """A line beyond the limit is passed over piece by piece, and its neighbours are read."""
    monkeypatch.setattr(otlp_json, "MAX_RECORD_BYTES", 1000)
    monkeypatch.setattr(otlp_json, "_SKIP_BYTES", 100)
    long = make_line({"name": "x" * 5000})

    found = read(make_line({}) + long + make_line({"spanId": "ff" * 8}))

    assert found.items(Signal.TRACES) == 2
    assert list(found.remarks.notes) == ["line 2: it is longer than 0 MiB"]


def test_a_document_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch, read: Callable[..., Any]) -> None:
    """One JSON document has to fit in memory; the message says what to write instead."""
    monkeypatch.setattr(otlp_json, "MAX_DOCUMENT_BYTES", 1000)

    with pytest.raises(FileFormatError, match="one request on each line"):
        read(b"[" + make_line({"name": "x" * 5000}) + b"]")


def test_more_items_than_a_request_may_hold_are_split(read: Callable[..., Any]) -> None:
    """A document of 60,000 spans becomes several requests of at most 10,000, with their resource."""
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "big"}}]}
    spans = [{"traceId": TRACE_ID, "spanId": f"{number:016x}"} for number in range(1, 60_001)]
    document = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "s"}, "spans": spans}]}]}

    found = read(json.dumps(document).encode())

    assert [batch.item_count for batch in found.batches] == [10_000] * 6
    assert {(span.service, span.scope.name) for span in found.spans} == {("big", "s")}


def test_blank_lines_and_a_byte_order_mark_are_nothing(read: Callable[..., Any]) -> None:
    """Editors on Windows write a BOM and CR LF."""
    found = read(b"\xef\xbb\xbf" + make_line({}).replace(b"\n", b"\r\n") + b"\r\n\n")

    assert (found.format_name, found.items(Signal.TRACES), found.remarks.faults) == ("otlp-jsonl", 1, 0)


def test_one_bad_byte_costs_nothing_but_itself(read: Callable[..., Any]) -> None:
    """Text that is not UTF-8 is repaired and said."""
    found = read(make_line({"name": "caf?"}).replace(b"caf?", b"caf\xe9"))

    assert found.spans[0].name == "caf\ufffd"
    assert found.remarks.warnings == {"texts repaired that were not UTF-8": 1}
