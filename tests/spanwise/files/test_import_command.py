"""`spanwise import` as a person meets it: what is stored, what is said, and which mistakes it takes."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import make_request, make_span

from apm_collector.file_formats.formats import FORMATS
from apm_collector.file_formats.unpack import zstd
from apm_collector.file_formats.write_otlp_json import to_json_line
from apm_store.open import open_store
from apm_store.query import StoreStats
from spanwise.files.commands import IMPORT_FORMATS

Run = Callable[..., Any]


def write_spans(path: Path, *numbers: int) -> Path:
    """A JSON lines file with one span on each line."""
    requests = [make_request([make_span("GET /", trace=number, span=number)]) for number in numbers]
    path.write_bytes(b"".join(to_json_line(request) for request in requests))
    return path


def stats_of(data_dir: Path) -> StoreStats:
    """What a store holds."""
    store = open_store(data_dir)
    try:
        store.traces.services()  # waits until all that was written can be found
        return store.stats()
    finally:
        store.close()


def test_the_formats_on_the_command_line_are_those_that_are_read() -> None:
    """The command knows the names without loading the readers."""
    assert set(IMPORT_FORMATS) == set(FORMATS)


def test_files_of_all_signals_are_stored(spanwise: Run, data_dir: Path, fixtures: Path) -> None:
    """The official examples end in the store, and each file says what it held."""
    files = [fixtures / f"01-otlp-proto-examples/{name}.json" for name in ("trace", "metrics", "logs", "events")]

    outcome = spanwise("import", *files)

    stats = stats_of(data_dir)
    assert (stats.spans, stats.data_points, stats.log_records) == (1, 4, 2)
    assert outcome.status == 0
    assert f"{files[1]}: OTLP JSON, 4 data points stored, 0 rejected, 0 warnings" in outcome.out
    assert "4 files: 7 items stored, 0 rejected, 0 warnings" in outcome.out


def test_what_is_left_out_is_said_and_gives_status_1(spanwise: Run, data_dir: Path, fixtures: Path) -> None:
    """Rejected items are counted with their lines; the valid ones of the other file are stored."""
    folder = fixtures / "16-otlp-jsonl-file-exporter"

    outcome = spanwise("import", folder / "resourceSpans.jsonl", folder / "resourceLogs.jsonl")

    assert outcome.status == 1
    assert "nothing stored, 8 rejected" in outcome.out
    assert "  line 1: 2 spans rejected: trace id is empty" in outcome.out
    assert stats_of(data_dir).log_records == 8


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zstd.compress)])
def test_compressed_files_are_read(
    suffix: str, pack: Callable[[bytes], bytes], spanwise: Run, data_dir: Path, tmp_path: Path
) -> None:
    """Compression is told by the content."""
    plain = write_spans(tmp_path / "spans.jsonl", 1, 2, 3)
    packed = tmp_path / f"spans.jsonl{suffix}"
    packed.write_bytes(pack(plain.read_bytes()))

    outcome = spanwise("import", packed)

    assert outcome.status == 0
    assert stats_of(data_dir).spans == 3


def test_importing_twice_stores_once(spanwise: Run, data_dir: Path, tmp_path: Path) -> None:
    """A file may be given again without harm."""
    file = write_spans(tmp_path / "spans.jsonl", 1, 2)

    statuses = [spanwise("import", file).status for _ in range(2)]

    assert statuses == [0, 0]
    assert stats_of(data_dir).spans == 2


def test_conversions_are_said_and_are_no_failure(spanwise: Run, tmp_path: Path) -> None:
    """Loose OTLP is stored with status 0, and each kind of change is counted."""
    file = tmp_path / "loose.json"
    span = '{"trace_id": "AAAAAAAAAAAAAAAAAAAAAQ==", "span_id": "AAAAAAAAAAE=", "kind": "SPAN_KIND_SERVER"}'
    file.write_text('{"resource_spans": [{"scope_spans": [{"spans": [' + span + "]}]}]}")

    outcome = spanwise("import", file)

    assert outcome.status == 0
    assert "1 span stored, 0 rejected, 7 warnings" in outcome.out
    assert "  converted: base64 ids read as hexadecimal (2)" in outcome.out
    assert "  converted: enum names read as integers (1)" in outcome.out


def _missing(path: Path) -> None:
    """Leave the file out."""


def _unreadable(path: Path) -> None:
    path.write_text("{}")
    path.chmod(0)


MISTAKES: list[tuple[str, Callable[[Path], Any], str]] = [
    ("missing", _missing, "there is no such file"),
    ("directory", Path.mkdir, "it is a directory"),
    ("empty", Path.touch, "the file is empty"),
    ("unknown", lambda path: path.write_text("hello\n"), "its format is not known; accepted: otlp-json"),
    ("database", lambda path: path.write_bytes(b"SQLite format 3\0"), "it is an SQLite database"),
    ("cut", lambda path: path.write_bytes(gzip.compress(b"{}" * 99)[:-9]), "the compressed file ends too early"),
    ("fifo to nobody", lambda path: path.symlink_to("/dev/zero"), "it is a device, not a file"),
    ("loop", lambda path: path.symlink_to(path), "it cannot be read"),
    pytest.param(  # type: ignore[list-item]
        "unreadable",
        _unreadable,
        "you may not read it",
        marks=pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything"),
    ),
]


@pytest.mark.parametrize(("name", "make", "words"), MISTAKES)
def test_a_mistake_costs_no_other_file(
    name: str, make: Callable[[Path], Any], words: str, spanwise: Run, data_dir: Path, tmp_path: Path
) -> None:
    """Each file that cannot be read says why in one line, and the others are stored."""
    make(tmp_path / name)

    outcome = spanwise("import", tmp_path / name, write_spans(tmp_path / "good.jsonl", 1))

    assert outcome.status == 1
    assert outcome.out.splitlines()[0].startswith(f"{tmp_path / name}: {words}")
    assert "2 files: 1 item stored, 0 rejected, 0 warnings, 1 not read" in outcome.out
    assert stats_of(data_dir).spans == 1


def test_the_format_can_be_named(spanwise: Run, data_dir: Path, tmp_path: Path) -> None:
    """`--format` overrides what the content looks like."""
    file = tmp_path / "odd.json"
    file.write_bytes(b"\n{oops\n" + to_json_line(make_request([make_span("GET /")])))

    outcome = spanwise("import", "--format", "otlp-jsonl", file)

    assert (outcome.status, stats_of(data_dir).spans) == (1, 1)
    assert "  line 2: it is not JSON" in outcome.out


def test_names_and_content_cannot_command_the_terminal(spanwise: Run, tmp_path: Path) -> None:
    """Control characters of file names and of the content are escaped."""
    file = tmp_path / "evil\x1b[2J\r\nline.json"
    file.write_bytes(b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"kind": "\\u001b[31mred"}]}]}]}')

    outcome = spanwise("import", file)

    assert outcome.status == 1
    assert "\x1b" not in outcome.out
    assert "evil\\x1b[2J\\r\\nline.json: " in outcome.out


def test_the_standard_input_is_a_file(
    spanwise: Run, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`-` reads what is piped in."""
    with write_spans(tmp_path / "spans.jsonl", 1, 2).open() as file:
        monkeypatch.setattr(sys, "stdin", file)

        outcome = spanwise("import", "-")

    assert (outcome.status, stats_of(data_dir).spans) == (0, 2)
    assert outcome.out.startswith("-: OTLP JSON lines, 2 spans stored")


def test_a_large_file_is_read_in_little_memory(data_dir: Path, tmp_path: Path) -> None:
    """A JSON lines file that is larger than the memory the process may have is imported."""
    line = to_json_line(make_request([make_span("x" * 1000, span=number) for number in range(1, 51)]))
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(b'{"hello": 1}\n' + b" " * (8 * 1024 * 1024) + b"\n" if _ % 2 else line)
    path = tmp_path / "large.jsonl.gz"
    path.write_bytes(packed.getvalue())
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_DATA, (220 << 20,) * 2);"
        "from spanwise.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    argv = [sys.executable, "-c", script, "import", "--format", "otlp-jsonl", str(path), "--data", str(data_dir)]

    result = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)

    assert "spans stored" in result.stdout, result.stderr[-2000:]
    assert stats_of(data_dir).spans == 50
