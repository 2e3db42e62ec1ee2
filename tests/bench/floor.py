"""The floor: what one process needs to parse requests and insert a bare, narrow row per span, and nothing else."""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.generator import Request
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_REQUESTS_PER_COMMIT = 8
_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE body (id INTEGER PRIMARY KEY, data BLOB);
CREATE TABLE span (trace_id BLOB, span_id BLOB, parent_id BLOB, name INTEGER, kind INTEGER, start_ns INTEGER,
                   duration_ns INTEGER, status INTEGER, body_id INTEGER);
CREATE INDEX span_trace ON span (trace_id);
CREATE INDEX span_start ON span (start_ns);
CREATE INDEX span_name ON span (name, start_ns);
"""


@dataclass(frozen=True)
class Floor:
    """What the bare insert reaches and costs."""

    spans_per_s: float
    cpu_us_per_span: float
    bytes_per_span: float


def measure(requests: Sequence[Request]) -> Floor:
    """Parse, compress and insert the requests, 8 per commit, into a new file with three indexes."""
    spans = sum(request.item_count for request in requests)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "floor.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.executescript(_SCHEMA)
            started_s, cpu_s = time.monotonic(), time.process_time()
            for first in range(0, len(requests), _REQUESTS_PER_COMMIT):
                _insert(database, first, requests[first : first + _REQUESTS_PER_COMMIT])
            seconds, cpu_s = time.monotonic() - started_s, time.process_time() - cpu_s
        return Floor(spans / seconds, cpu_s / spans * 1e6, path.stat().st_size / spans)


def _insert(database: sqlite3.Connection, first: int, requests: Sequence[Request]) -> None:
    """One commit."""
    names: dict[str, int] = {}
    database.execute("BEGIN IMMEDIATE")
    for body_id, request in enumerate(requests, first):
        database.execute("INSERT INTO body VALUES (?, ?)", (body_id, zstd.compress(request.body, 1)))
        rows = _rows(ExportTraceServiceRequest.FromString(request.body), body_id, names)
        database.executemany("INSERT INTO span VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    database.execute("COMMIT")


def _rows(request: Any, body_id: int, names: dict[str, int]) -> list[tuple[Any, ...]]:
    return [
        (
            span.trace_id,
            span.span_id,
            span.parent_span_id,
            names.setdefault(span.name, len(names)),
            span.kind,
            span.start_time_unix_nano,
            span.end_time_unix_nano - span.start_time_unix_nano,
            span.status.code,
            body_id,
        )
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]
