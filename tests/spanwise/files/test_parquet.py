"""Flat rows of all signals, and the Parquet file where pyarrow is installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from builders import make_request, make_span

from apm_collector.otlp import decode
from apm_store.model import Signal
from spanwise.files.parquet import INSTALL, ParquetFile, flat_rows
from spanwise.files.store_access import CommandError


def test_a_span_is_one_row() -> None:
    """Ids, times, service and attributes stand in columns of their own."""
    request = make_request([make_span("GET /", parent=2, failed=True, attributes={"n": 5})])

    (row,) = flat_rows(Signal.TRACES, request)

    assert (row["trace_id"], row["parent_span_id"]) == ("1".zfill(32), "2".zfill(16))
    assert (row["service"], row["name"], row["kind"], row["status_code"]) == ("shop", "GET /", 2, 2)
    assert (row["start"], row["duration_ns"]) == (1_000_000_000_000, 10_000_000)
    assert json.loads(row["attributes"]) == {"n": 5}


@pytest.mark.parametrize(
    ("name", "signal", "rows"),
    [("trace", Signal.TRACES, 1), ("metrics", Signal.METRICS, 4), ("logs", Signal.LOGS, 1), ("events", Signal.LOGS, 1)],
)
def test_the_official_examples_become_rows(name: str, signal: Signal, rows: int, fixtures: Path) -> None:
    """Each item of each signal is a row whose values are numbers, text or nothing."""
    batch = decode(signal, (fixtures / f"01-otlp-proto-examples/{name}.json").read_bytes(), "json").batch

    found = list(flat_rows(signal, batch.request))  # type: ignore[union-attr]

    assert len(found) == rows
    assert {type(value) for row in found for value in row.values()} <= {str, int, float, bool, type(None)}
    assert all(json.loads(row["attributes"]) is not None for row in found)


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is installed")
def test_without_pyarrow_the_error_names_the_install_line(tmp_path: Path) -> None:
    """Nobody has to guess what is missing."""
    with pytest.raises(CommandError, match=INSTALL):
        ParquetFile(tmp_path / "spans.parquet", Signal.TRACES)


@pytest.mark.parametrize("signal", list(Signal))
def test_a_parquet_file_is_read_back(signal: Signal, tmp_path: Path, fixtures: Path) -> None:
    """What was written has the rows and the columns of the signal."""
    parquet = pytest.importorskip("pyarrow.parquet")
    name = {Signal.TRACES: "trace", Signal.METRICS: "metrics", Signal.LOGS: "logs"}[signal]
    batch = decode(signal, (fixtures / f"01-otlp-proto-examples/{name}.json").read_bytes(), "json").batch
    file = ParquetFile(tmp_path / "file.parquet", signal)

    file.write(batch.request)  # type: ignore[union-attr]
    file.close()

    rows = list(flat_rows(signal, batch.request))  # type: ignore[union-attr]
    table = parquet.read_table(tmp_path / "file.parquet")
    assert table.num_rows == len(rows)
    assert table.column_names == list(rows[0])
