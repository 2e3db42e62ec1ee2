"""OTLP files of other projects, through every way into the collector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apm_collector.otlp import decode
from apm_store.api import Store
from apm_store.model import Signal
from apm_store.open import open_store
from apm_store.query import LogQuery, MetricQuery, TimeRange

FIXTURES = Path(__file__).parents[2] / ".." / "shared" / "fixtures" / "otlp"
ALL_TIME = TimeRange(0, 2**63 - 1)
FILES = [
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
JSON_TEXTS = sorted((FIXTURES / "20-JSONTestSuite").glob("*/*.json"))
BAD_JSON = sorted((FIXTURES / "05-anonymizer-bad-json").glob("*"))
pytestmark = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the OTLP fixtures are not beside this checkout")


def _requests(name: str) -> list[bytes]:
    """The export requests of a file: a JSON document, or one on each line."""
    data = (FIXTURES / name).read_bytes()
    return data.splitlines() if name.endswith("jsonl") else [data]


def _rows(store: Store, signal: Signal, trace_ids: set[str]) -> list[Any]:
    """Everything of a signal that a store holds."""
    if signal is Signal.TRACES:
        return [store.traces.get(trace_id) for trace_id in sorted(trace_ids)]
    if signal is Signal.METRICS:
        return [store.metrics.find(MetricQuery(name, ALL_TIME)) for name in store.metrics.names()]
    return list(store.logs.find(LogQuery(ALL_TIME)))


@pytest.mark.parametrize(("name", "signal", "items"), FILES, ids=[name for name, *_ in FILES])
def test_all_ways_lead_to_the_same_rows(
    name: str, signal: Signal, items: int, start: Callable[..., Any], tmp_path: Path
) -> None:
    """HTTP with JSON, HTTP with protobuf and gRPC store the same, and every valid item."""
    requests = _requests(name)
    batches = [decode(signal, request, "json").batch for request in requests]
    bodies = [batch.body for batch in batches if batch is not None]
    spans = [span for batch in batches if batch and signal is Signal.TRACES for span in _spans(batch.request)]
    trace_ids = {span.trace_id.hex() for span in spans}
    rows = []

    for way in ("json", "protobuf", "grpc"):
        store = open_store(tmp_path / way)
        live = start(store)
        for request in requests if way == "json" else bodies:
            if way == "grpc":
                live.export(signal, request)
            else:
                assert live.send(signal, request, way).status == 200
        counts = live.collector.counts()[signal.value]
        assert counts["accepted"] == items
        rows.append(_rows(store, signal, trace_ids))
        live.collector.stop()
        store.close()

    assert rows[0] == rows[1] == rows[2]
    assert bool(rows[0]) == bool(items)


def _spans(request: Any) -> list[Any]:
    return [span for group in request.resource_spans for scope in group.scope_spans for span in scope.spans]


def test_spans_without_ids_are_rejected_and_counted(shared: Any) -> None:
    """The specification's own example spans have empty ids: all 8 are told to the sender and counted."""
    before = shared.collector.counts()["traces"]["rejected"].get("invalid_trace_id", 0)

    replies = [shared.send(Signal.TRACES, body, "json") for body in _requests(FILES[7][0])]

    assert all(b"trace id is empty" in reply.body for reply in replies)
    assert shared.collector.counts()["traces"]["rejected"]["invalid_trace_id"] - before == 8
    assert shared.store.stats().spans == 0


@pytest.mark.parametrize("path", BAD_JSON, ids=lambda path: path.name)
def test_what_is_not_otlp_is_refused_with_its_cause(path: Path, shared: Any) -> None:
    """Empty, malformed, of another shape: 400, a message, and nothing stored."""
    reply = shared.send(Signal.TRACES, path.read_bytes(), "json")

    assert reply.status == 400
    assert b"ExportTraceServiceRequest" in reply.body
    assert b"Traceback" not in reply.body
    assert shared.store.stats().spans == 0


@pytest.mark.parametrize("signal", list(Signal))
def test_json_that_is_none_is_refused(signal: Signal, shared: Any) -> None:
    """Every n_ text of JSONTestSuite is 400; no text at all is a 5xx, and none stores anything."""
    assert JSON_TEXTS

    statuses = {path.name: shared.send(signal, path.read_bytes(), "json").status for path in JSON_TEXTS}

    assert {status for name, status in statuses.items() if name.startswith("n_")} == {400}
    assert set(statuses.values()) <= {200, 400}
    stats = shared.store.stats()
    assert stats.spans + stats.data_points + stats.log_records == 0
