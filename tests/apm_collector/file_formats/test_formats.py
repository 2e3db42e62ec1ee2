"""The format is told from the content, and what is no telemetry is told what it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apm_collector.file_formats.contents import FileFormatError
from apm_collector.file_formats.formats import FORMATS, detect_format
from apm_collector.file_formats.unpack import zstd


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b'{"resourceSpans": []}', "otlp-jsonl"),
        (b'\xef\xbb\xbf \n{"resourceLogs": []}', "otlp-jsonl"),
        (b'{"resource_metrics": []}\n', "otlp-jsonl"),
        (b'{\n  "resourceMetrics": [\n    {', "otlp-json"),
        (b'[{"resourceMetrics": []}]', "otlp-json"),
        (b'{"data":[{"traceID":"1","spans":[]', "jaeger-json"),
        (b'[{"traceID":"1","spanID":"2"', "jaeger-json"),
        (b'[{"traceId":"1","id":"2"', "zipkin-json"),
        (b'[[{"id":"2", "traceId" : "1"', "zipkin-json"),
        (b"\x0a\x10\x12\x0e", "otlp-protobuf"),
        (b"\x00\x00\x00\x05\x0a\x03", "otlp-protobuf"),
        (b'\x00\x00\x00\x05{"', "otlp-protobuf"),
        (b"\x00\x00\x00\x50\x28\xb5\x2f\xfd", "otlp-protobuf"),
        (b"\x85\x02\x0a\x83", "otlp-protobuf"),
    ],
)
def test_each_format_is_recognised(head: bytes, name: str) -> None:
    """The first bytes or the first telling key decide."""
    assert detect_format(head) == name


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "empty"),
        (b" \n\t", "nothing but blanks"),
        (b"SQLite format 3\0...", "SQLite"),
        (b"PK\x03\x04...", "zip"),
        (b"PAR1....", "Parquet"),
        (b"\xff\xfe{\0", "UTF-16"),
        (b'{"hello": "world"}', "neither OTLP nor Jaeger nor Zipkin"),
        (b"[]", "neither OTLP"),
        (b"hello world", "not known"),
        (b"\n\nhello", "not known"),
        (b"\x89PNG\r\n\x1a\n", "not known"),
        (b"\x7fELF\x02\x01\x01", "not known"),
        (bytes(100), "not known"),
    ],
)
def test_what_is_no_telemetry_is_said(head: bytes, words: str) -> None:
    """The message says what the file is, or what would be accepted."""
    with pytest.raises(FileFormatError, match=words):
        detect_format(head)


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.one_of(st.binary(max_size=200), st.binary(max_size=100).map(zstd.compress)))
@settings(max_examples=100)
def test_any_bytes_are_read_or_refused_in_any_format(name: str, data: bytes, read: Callable[..., Any]) -> None:
    """Whatever the content and the format that was named: batches, notes, or one plain error."""
    try:
        read(data, name)
    except FileFormatError as error:
        assert str(error)


KEYS = [
    "data",
    "spans",
    "traceID",
    "spanID",
    "tags",
    "key",
    "value",
    "type",
    "processes",
    "processID",
    "process",
    "logs",
    "references",
    "startTime",
    "duration",
    "traceId",
    "id",
    "timestamp",
    "annotations",
    "localEndpoint",
    "error",
    "resourceSpans",
    "scopeSpans",
    "resource_spans",
    "status",
    "kind",
    "name",
]
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=20,
)


@pytest.mark.parametrize("name", [name for name in FORMATS if "json" in name])
@given(document=JSON)
@settings(max_examples=200)
def test_json_of_any_shape_is_read_or_refused(name: str, document: Any, read: Callable[..., Any]) -> None:
    """Known keys with values of the wrong type never lead to anything but batches, notes, or one plain error."""
    try:
        read(json.dumps(document).encode(), name)
    except FileFormatError as error:
        assert str(error)


def test_fixtures_that_are_no_json_are_refused_plainly(fixtures: Path, read: Callable[..., Any]) -> None:
    """Every text of JSONTestSuite, as a file of any JSON format, gives an error or nothing."""
    paths = sorted((fixtures / "20-JSONTestSuite").glob("*/*.json"))

    outcomes = [_outcome(read, path, name) for path in paths for name in FORMATS if "json" in name]

    assert paths
    assert all(outcome == "nothing" or outcome.startswith("refused: ") for outcome in outcomes)


def _outcome(read: Callable[..., Any], path: Path, name: str) -> str:
    try:
        return "stored" if read(path.read_bytes(), name).batches else "nothing"
    except FileFormatError as error:
        return f"refused: {error}"
