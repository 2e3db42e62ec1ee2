"""The debug exporter."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from builders import attribute, make_batch, make_span
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from apm_collector.config_exporters import DebugExporterConfig
from apm_collector.exporters.debug import DebugExporter
from apm_store.model import Batch, Signal


def lines(verbosity: str, batch: Batch, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the exporter logs of a batch."""
    caplog.clear()
    DebugExporter(DebugExporterConfig(verbosity)).consume(batch)
    return [record.getMessage() for record in caplog.records]


def logs_batch(text: str) -> Batch:
    """A batch of one log record without a service name."""
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(severity_text="WARN")
    record.body.string_value = text
    return Batch(Signal.LOGS, request, request.SerializeToString(), 1)


def metrics_batch() -> Batch:
    """A batch of one metric with two data points, and one without data."""
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.append(attribute("service.name", "shop"))
    scope = group.scope_metrics.add()
    metric = scope.metrics.add(name="load")
    for time_ns in (1, 2):
        metric.gauge.data_points.add(time_unix_nano=time_ns, as_int=7)
    scope.metrics.add(name="empty")
    return Batch(Signal.METRICS, request, request.SerializeToString(), 2)


def test_basic_is_one_line_per_batch(caplog: pytest.LogCaptureFixture) -> None:
    """Signal, items and bytes, at a level that shows whatever the log's level is."""
    batch = make_batch([make_span("a"), make_span("b", span=2)])

    assert lines("basic", batch, caplog) == [f"traces: 2 items, {len(batch.body)} bytes"]


def test_normal_adds_one_line_per_item(caplog: pytest.LogCaptureFixture) -> None:
    """Ids, service, name and duration of a span; the same idea for data points and log records."""
    span = f"  span {1:032x} {1:016x} shop a 10.000 ms"

    assert lines("normal", make_batch([make_span("a")]), caplog)[1:] == [span]
    assert lines("normal", metrics_batch(), caplog)[1:] == [
        "  data point shop load gauge at 1",
        "  data point shop load gauge at 2",
    ]
    assert lines("normal", logs_batch("hello"), caplog)[1:] == ["  log record unknown_service WARN hello"]


def test_detailed_shows_every_field(caplog: pytest.LogCaptureFixture) -> None:
    """Also those of resource and scope."""
    batch = make_batch([make_span("a", attributes={"db.system": "sqlite"})])

    text = "\n".join(lines("detailed", batch, caplog))

    for part in ('"service.name"', '"db.system"', '"sqlite"', "end_time_unix_nano", "SPAN_KIND_SERVER"):
        assert part in text


@pytest.mark.parametrize("verbosity", ["normal", "detailed"])
def test_text_of_strangers_cannot_command_a_terminal(verbosity: str, caplog: pytest.LogCaptureFixture) -> None:
    """Line breaks, escape sequences and bidirectional marks arrive escaped, in every field."""
    evil = "a\r\nforged: line\x1b]0;title\x07\u202eb\u2028c\x9b1m"
    span = make_span(evil, attributes={evil: evil})
    span.trace_state = evil

    for batch in (make_batch([span], service=evil), logs_batch(evil)):
        found: Any = lines(verbosity, batch, caplog)

        assert all(line.isprintable() for line in found)


def test_the_level_shows_it(caplog: pytest.LogCaptureFixture) -> None:
    """A log that shows warnings alone shows these lines all the same."""
    DebugExporter(DebugExporterConfig("basic"))

    assert logging.getLogger("apm_collector.exporters.debug").isEnabledFor(logging.INFO)
