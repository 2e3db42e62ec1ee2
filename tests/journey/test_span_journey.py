"""A span's journey through the eight doors of ARCHITECTURE.md, one stop after the other."""

from __future__ import annotations

from pathlib import Path

from builders import MS, SECOND, make_request, make_span

from apm_analysis.trace_tree import build_tree
from apm_collector.exporters.store import StoreExporter
from apm_collector.otlp import decode
from apm_collector.pipeline import ProcessorSettings, build_pipeline
from apm_store.api import Store
from apm_store.model import Signal
from apm_ui.filters import parse_filters
from apm_ui.pages import trace as trace_page
from apm_ui.sources import Sources

START_NS = 1_764_000_000 * SECOND
TRACE_ID = f"{7:032x}"


def test_a_span_travels_from_bytes_to_the_screen(store: Store, tmp_path: Path) -> None:
    """What an SDK sends is what the trace page shows, and every door on the way hands it on."""
    root = make_span("POST /checkout", trace=7, span=1, start_ns=START_NS, duration_ns=100 * MS, failed=True)
    query = make_span(
        "SELECT orders", trace=7, span=2, parent=1, start_ns=START_NS + 10 * MS, duration_ns=60 * MS, kind=3
    )
    body = make_request([root, query], service="storefront").SerializeToString()  # door 1 takes these bytes off HTTP

    decoded = decode(Signal.TRACES, body, "protobuf")  # door 2
    assert decoded.batch is not None
    assert (decoded.batch.item_count, decoded.rejected) == (2, 0)

    exporter = StoreExporter(store)
    settings = ProcessorSettings(lambda *_: None, tmp_path)
    build_pipeline([], {}, exporter, settings).consume(decoded.batch)  # doors 3 and 4: returns when it is durable

    spans = store.traces.get(TRACE_ID)  # doors 5 and 6
    assert [(span.name, span.service, span.duration_ns) for span in spans] == [
        ("POST /checkout", "storefront", 100 * MS),
        ("SELECT orders", "storefront", 60 * MS),
    ]

    tree = build_tree(spans)  # door 7
    assert [(node.span.name, node.depth, node.self_time_ns) for node in tree.nodes] == [
        ("POST /checkout", 0, 40 * MS),
        ("SELECT orders", 1, 60 * MS),
    ]

    filters = parse_filters("", START_NS + SECOND).with_params(trace_id=TRACE_ID)
    view = trace_page.view(trace_page.load(Sources(store, tmp_path), filters))  # door 8
    assert "POST /checkout" in str(view)
    assert "failed" in str(view)
