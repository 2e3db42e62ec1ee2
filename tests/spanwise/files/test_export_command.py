"""`spanwise export`: what is written can be imported again, and nothing of the user's is overwritten."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from builders import SECOND, make_batch, make_span
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from stack import SPANWISE

from apm_collector.otlp import decode
from apm_store.model import Signal
from apm_store.open import open_store
from apm_store.otlp_decode import decode_log_records, decode_metrics, decode_spans, parse_request
from apm_store.query import TimeRange

Run = Callable[..., Any]
ALL_TIME = TimeRange(0, 2**64)
START_NS = 1_700_000_000 * SECOND


def everything(data_dir: Path) -> set[str]:
    """Every item of a store with all its fields, in no order."""
    decoders: dict[Signal, Any] = {
        Signal.TRACES: decode_spans,
        Signal.METRICS: decode_metrics,
        Signal.LOGS: decode_log_records,
    }
    store = open_store(data_dir, read_only=True)
    try:
        requests = [
            (signal, parse_request(signal, body)) for signal in Signal for body in store.bodies(signal, ALL_TIME)
        ]
        pairs = [pair for signal, request in requests for pair in decoders[signal](request)]
        return {repr(pair[1] if not isinstance(pair[1], tuple) else pair[0]) for pair in pairs}
    finally:
        store.close()


def fill(data_dir: Path, *batches: Any) -> None:
    """Store batches."""
    store = open_store(data_dir)
    writers: dict[Signal, Any] = {Signal.TRACES: store.traces, Signal.METRICS: store.metrics, Signal.LOGS: store.logs}
    for batch in batches:
        writers[batch.signal].write(batch)
    store.close()


@pytest.fixture
def examples(fixtures: Path, data_dir: Path) -> Path:
    """A data directory with the official examples of all signals."""
    names = {"trace": Signal.TRACES, "metrics": Signal.METRICS, "logs": Signal.LOGS, "events": Signal.LOGS}
    folder = fixtures / "01-otlp-proto-examples"
    fill(data_dir, *(decode(names[name], (folder / f"{name}.json").read_bytes(), "json").batch for name in names))
    return data_dir


def test_all_signals_come_back_the_same(spanwise: Run, examples: Path, tmp_path: Path) -> None:
    """Export and import into an empty store give the same items, field by field."""
    file, other = tmp_path / "all.jsonl", tmp_path / "other"

    exported = spanwise("export", "-o", file)
    imported = spanwise("import", file, data=other)

    assert (exported.status, imported.status) == (0, 0)
    assert exported.err == f"1 span, 4 data points, 2 log records exported to {file}\n"
    assert len(everything(examples)) == 7
    assert everything(other) == everything(examples)


@given(
    spans=st.lists(
        st.tuples(
            st.text(max_size=10), st.integers(0, 2**64 - 10**12 - 1), st.integers(0, 10**12), st.floats(allow_nan=False)
        ),
        min_size=1,
        max_size=6,
    )
)
@example(spans=[("late", 2**63 - 1, 0, 1.0)])  # the last time that SQLite can hold
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_spans_come_back_the_same(
    spans: list[Any], spanwise: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Names, times and values of any kind survive the way through a file."""
    folder = tmp_path_factory.mktemp("round")
    made = [
        make_span(name, span=number, start_ns=start, duration_ns=duration, attributes={"value": value})
        for number, (name, start, duration, value) in enumerate(spans, 1)
    ]
    fill(folder / "one", make_batch(made))

    exported = spanwise("export", "-o", folder / "file.jsonl", data=folder / "one")
    imported = spanwise("import", folder / "file.jsonl", data=folder / "two")

    assert (exported.status, imported.status) == (0, 0), (exported, imported)
    assert everything(folder / "two") == everything(folder / "one")


def test_each_line_is_one_request_by_the_letter(spanwise: Run, examples: Path) -> None:
    """Without a file name the lines go to the standard output: hex ids, enum integers, 64-bit strings."""
    lines = [json.loads(line) for line in spanwise("export").out.splitlines()]

    span = lines[0]["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert [next(iter(line)) for line in lines] == ["resourceSpans", "resourceMetrics", "resourceLogs", "resourceLogs"]
    assert span["traceId"] == "5b8efff798038103d269b633813fc60c"
    assert span["startTimeUnixNano"] == "1544712660000000000"
    assert span["kind"] == 2


def test_a_range_is_cut_item_by_item(spanwise: Run, data_dir: Path) -> None:
    """Of a request that overlaps the range only the spans in it are exported."""
    fill(data_dir, make_batch(make_span(f"s{n}", span=n, start_ns=START_NS + n * SECOND) for n in range(1, 10)))

    out = spanwise("export", "--from", "2023-11-14T22:13:23Z", "--to", "2023-11-14T22:13:26Z").out

    spans = json.loads(out)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert [span["name"] for span in spans] == ["s3", "s4", "s5"]


def test_one_signal_can_be_chosen(spanwise: Run, examples: Path) -> None:
    """`--signal logs` leaves the others out."""
    out = spanwise("export", "--signal", "logs").out

    assert {next(iter(json.loads(line))) for line in out.splitlines()} == {"resourceLogs"}


def test_one_trace_comes_with_its_log_records(spanwise: Run, data_dir: Path) -> None:
    """`--trace` gives the spans and the log records of that trace alone."""
    records = [
        {
            "traceId": f"{trace:032x}",
            "spanId": f"{1:016x}",
            "timeUnixNano": str(START_NS),
            "body": {"stringValue": "hi"},
        }
        for trace in (1, 2)
    ]
    logs = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}).encode()
    spans = [make_span(f"t{trace}", trace=trace, span=trace, start_ns=START_NS) for trace in (1, 2)]
    fill(data_dir, make_batch(spans), decode(Signal.LOGS, logs, "json").batch)

    lines = [json.loads(line) for line in spanwise("export", "--trace", f"{2:032x}".upper()).out.splitlines()]

    assert [span["name"] for span in lines[0]["resourceSpans"][0]["scopeSpans"][0]["spans"]] == ["t2"]
    assert [one["traceId"] for one in lines[1]["resourceLogs"][0]["scopeLogs"][0]["logRecords"]] == [f"{2:032x}"]


def test_a_file_is_not_overwritten_unless_forced(spanwise: Run, examples: Path, tmp_path: Path) -> None:
    """What is there stays; `--force` replaces it; nothing half-written lies around."""
    file = tmp_path / "out" / "mine.txt"
    file.parent.mkdir()
    file.write_text("precious")

    refused = spanwise("export", "-o", file)
    kept = file.read_text()
    forced = spanwise("export", "-o", file, "--force")

    assert (refused.status, kept) == (1, "precious")
    assert "add --force" in refused.err
    assert forced.status == 0
    assert file.read_bytes().startswith(b'{"resourceSpans"')
    assert list(file.parent.iterdir()) == [file]
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_export_that_fails_leaves_nothing(spanwise: Run, examples: Path, tmp_path: Path) -> None:
    """Where nothing is found, no file appears, and the status is 1."""
    folder = tmp_path / "out"
    folder.mkdir()

    outcome = spanwise("export", "--from", "2030-01-01", "-o", folder / "none.jsonl")

    assert outcome.status == 1
    assert "nothing to export" in outcome.err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--trace", "../../etc/passwd"], "is no trace id"),
        (["--trace", "f" * 32], "There is no trace"),
        (["--trace", "f" * 32, "--signal", "metrics"], "belong to no trace"),
        (["--from", "2026-01-02", "--to", "2026-01-01"], "--from is not before --to"),
        (["-o", "/no/such/dir/file.jsonl"], "There is no directory /no/such/dir"),
        (["-o", "/"], "is a directory"),
        (["--format", "parquet"], "add --signal traces"),
        (["--format", "parquet", "--signal", "traces"], "-o FILE"),
    ],
)
def test_mistakes_are_said_in_one_line(argv: list[str], words: str, spanwise: Run, examples: Path) -> None:
    """What cannot be done says why; nothing goes to the standard output."""
    outcome = spanwise("export", *argv)

    assert (outcome.status, outcome.out) == (1, "")
    assert words in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_where_nothing_is_stored_it_says_so(spanwise: Run, tmp_path: Path) -> None:
    """A data directory that is missing, or empty, is no traceback and is not made."""
    (tmp_path / "empty").mkdir()

    missing, empty = spanwise("export", data=tmp_path / "missing"), spanwise("export", data=tmp_path / "empty")

    assert (missing.status, empty.status) == (1, 1)
    assert "There is no data directory" in missing.err
    assert not (tmp_path / "missing").exists()
    assert len(empty.err.splitlines()) == 1


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is installed")
def test_parquet_without_pyarrow_names_the_install_line(spanwise: Run, examples: Path, tmp_path: Path) -> None:
    """The error comes before anything is written."""
    outcome = spanwise("export", "--format", "parquet", "--signal", "traces", "-o", tmp_path / "spans.parquet")

    assert (outcome.status, outcome.err) == (
        1,
        "spanwise: Parquet needs pyarrow, which is not installed: pip install pyarrow\n",
    )
    assert not (tmp_path / "spans.parquet").exists()


def test_parquet_has_a_row_for_each_span(spanwise: Run, examples: Path, tmp_path: Path) -> None:
    """The file can be read by anything that reads Parquet."""
    parquet = pytest.importorskip("pyarrow.parquet")

    outcome = spanwise("export", "--format", "parquet", "--signal", "traces", "-o", tmp_path / "spans.parquet")

    assert outcome.status == 0
    assert parquet.read_table(tmp_path / "spans.parquet").num_rows == 1


def test_a_reader_that_stops_is_no_failure(data_dir: Path) -> None:
    """`spanwise export | head -1` ends quietly."""
    spans = [make_span("x" * 500, span=number) for number in range(1, 500)]
    fill(data_dir, *(make_batch([span]) for span in spans))
    argv = [SPANWISE, "export", "--data", data_dir]

    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()

    assert (process.returncode, errors) == (0, b"")


@pytest.mark.parametrize("argv", [("export",), ("backup", "copy"), ("import", "spans.jsonl")])
def test_a_store_of_a_newer_version_is_left_alone(
    argv: tuple[str, ...], spanwise: Run, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No command reads or changes what only a later Spanwise understands; each says so in one line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spans.jsonl").write_bytes(b'{"resourceSpans": []}\n')
    for path in examples.rglob("*.db"):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version = 9999")

    outcome = spanwise(*argv)

    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 1
    assert "newer" in outcome.err
