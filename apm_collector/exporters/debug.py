"""Writes what passes through a pipeline to the log, for a person who watches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import Message

from apm_collector.config_exporters import DebugExporterConfig
from apm_collector.log_text import printable
from apm_store.model import Batch, Signal

_log = logging.getLogger(__name__)
_Parts = Iterator[tuple[Message, str]]


class DebugExporter:
    """A Consumer that logs: `basic` one line per batch, `normal` also one per item, `detailed` also all fields."""

    def __init__(self, config: DebugExporterConfig) -> None:
        self._verbosity = config.verbosity
        _log.setLevel(logging.INFO)  # whoever names this exporter wants to see it, whatever the log's level is

    def consume(self, batch: Batch) -> None:
        """Log a batch."""
        _log.info("%s: %d items, %d bytes", batch.signal.value, batch.item_count, len(batch.body))
        if self._verbosity == "basic":
            return
        for part, line in _PARTS[batch.signal](batch.request):
            if line:
                _log.info("  %s", printable(line, 1000))
            if self._verbosity == "detailed":
                for field in text_format.MessageToString(part).rstrip("\n").split("\n"):
                    _log.info("    %s", printable(field, 1000))


def _spans(request: Any) -> _Parts:
    """Every span with its line; a resource or a scope has none."""
    for resource in request.resource_spans:
        yield resource.resource, ""
        for scope in resource.scope_spans:
            yield scope.scope, ""
            for span in scope.spans:
                duration_ms = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
                ids = f"{span.trace_id.hex()} {span.span_id.hex()}"
                yield span, f"span {ids} {_service(resource)} {span.name} {duration_ms:.3f} ms"


def _metrics(request: Any) -> _Parts:
    """Every metric with one line per data point, the first of which stands for the whole metric."""
    for resource in request.resource_metrics:
        yield resource.resource, ""
        for scope in resource.scope_metrics:
            yield scope.scope, ""
            for metric in scope.metrics:
                kind = metric.WhichOneof("data") or "no data"
                points = getattr(metric, kind).data_points if metric.WhichOneof("data") else ()
                for point in points:
                    yield point, f"data point {_service(resource)} {metric.name} {kind} at {point.time_unix_nano}"


def _log_records(request: Any) -> _Parts:
    """Every log record with its line."""
    for resource in request.resource_logs:
        yield resource.resource, ""
        for scope in resource.scope_logs:
            yield scope.scope, ""
            for record in scope.log_records:
                body = record.body.string_value if record.body.HasField("string_value") else str(record.body)
                yield record, f"log record {_service(resource)} {record.severity_text} {body}"


def _service(resource: Any) -> str:
    """The `service.name` of a resource, or the name that OpenTelemetry gives to one without."""
    for attribute in resource.resource.attributes:
        if attribute.key == "service.name":
            return str(attribute.value.string_value)
    return "unknown_service"


_PARTS: dict[Signal, Callable[[Any], _Parts]] = {
    Signal.TRACES: _spans,
    Signal.METRICS: _metrics,
    Signal.LOGS: _log_records,
}
