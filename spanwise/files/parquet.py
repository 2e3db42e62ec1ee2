"""Writes requests to a Parquet file: one flat row for each span, data point or log record. Needs pyarrow."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from apm_store.model import Attributes, LogRecord, Metric, Signal, Span
from apm_store.otlp_decode import decode_log_records, decode_metrics, decode_spans
from spanwise.files.store_access import CommandError

INSTALL = "pip install pyarrow"
_COLUMNS = {  # name -> Arrow type; "moment" is a timestamp in ns, UTC
    Signal.TRACES: {
        "trace_id": "string",
        "span_id": "string",
        "parent_span_id": "string",
        "service": "string",
        "name": "string",
        "kind": "int32",
        "start": "moment",
        "duration_ns": "int64",
        "status_code": "int32",
        "status_message": "string",
        "scope": "string",
        "attributes": "string",
        "resource": "string",
        "events": "string",
        "links": "string",
    },
    Signal.METRICS: {
        "name": "string",
        "type": "string",
        "unit": "string",
        "temporality": "int32",
        "is_monotonic": "bool_",
        "service": "string",
        "time": "moment",
        "start": "moment",
        "value": "float64",
        "count": "int64",
        "sum": "float64",
        "scope": "string",
        "attributes": "string",
        "resource": "string",
        "detail": "string",
    },
    Signal.LOGS: {
        "time": "moment",
        "observed_time": "moment",
        "service": "string",
        "severity_number": "int32",
        "severity_text": "string",
        "body": "string",
        "event_name": "string",
        "trace_id": "string",
        "span_id": "string",
        "scope": "string",
        "attributes": "string",
        "resource": "string",
    },
}
_GROUP_ROWS = 20_000
_MAX_INT = 2**63 - 1  # Arrow's largest; OTLP's times and counts reach 2^64 - 1


class ParquetFile:
    """A Parquet file of one signal that is being written; raises CommandError when pyarrow is missing."""

    def __init__(self, path: Path, signal: Signal) -> None:
        arrow, parquet = load_pyarrow()
        self._arrow = arrow
        self._signal = signal
        types: dict[str, Any] = {"moment": arrow.timestamp("ns", tz="UTC")}
        fields = [(name, types.get(kind) or getattr(arrow, kind)()) for name, kind in _COLUMNS[signal].items()]
        self._schema = arrow.schema(fields)
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def write(self, request: Any) -> None:
        """Add the items of an export request."""
        self._rows += flat_rows(self._signal, request)
        if len(self._rows) >= _GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the file's end."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


def load_pyarrow() -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet; raises CommandError with the line that installs them."""
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise CommandError(f"Parquet needs pyarrow, which is not installed: {INSTALL}") from error


def flat_rows(signal: Signal, request: Any) -> Iterator[dict[str, Any]]:
    """One row for each item of an export request, with attributes as JSON text."""
    if signal is Signal.TRACES:
        return (_span_row(span) for _, span in decode_spans(request))
    if signal is Signal.LOGS:
        return (_log_row(record) for _, record in decode_log_records(request))
    return (row for metric, _ in decode_metrics(request) for row in _point_rows(metric))


def _span_row(span: Span) -> dict[str, Any]:
    events = [{"time_ns": event.time_ns, "name": event.name, "attributes": event.attributes} for event in span.events]
    links = [{"trace_id": link.trace_id, "span_id": link.span_id, "attributes": link.attributes} for link in span.links]
    return {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id,
        "service": span.service,
        "name": span.name,
        "kind": int(span.kind),
        "start": _bounded(span.start_ns),
        "duration_ns": _bounded(span.duration_ns),
        "status_code": int(span.status_code),
        "status_message": span.status_message,
        "scope": span.scope.name,
        "attributes": _json(span.attributes),
        "resource": _json(span.resource.attributes),
        "events": _json(events),
        "links": _json(links),
    }


def _log_row(record: LogRecord) -> dict[str, Any]:
    return {
        "time": _bounded(record.time_ns or record.observed_time_ns),
        "observed_time": _bounded(record.observed_time_ns),
        "service": record.service,
        "severity_number": record.severity_number,
        "severity_text": record.severity_text,
        "body": record.body if isinstance(record.body, str) else _json(record.body),
        "event_name": record.event_name,
        "trace_id": record.trace_id,
        "span_id": record.span_id,
        "scope": record.scope.name,
        "attributes": _json(record.attributes),
        "resource": _json(record.resource.attributes),
    }


def _point_rows(metric: Metric) -> Iterator[dict[str, Any]]:
    for point in metric.points:
        yield {
            "name": metric.name,
            "type": metric.type.value,
            "unit": metric.unit,
            "temporality": metric.temporality,
            "is_monotonic": metric.is_monotonic,
            "service": metric.service,
            "time": _bounded(point.time_ns),
            "start": _bounded(point.start_ns),
            "value": None if point.value is None else float(point.value),
            "count": None if point.count is None else _bounded(point.count),
            "sum": point.sum,
            "scope": metric.scope.name,
            "attributes": _json(point.attributes),
            "resource": _json(metric.resource.attributes),
            "detail": _json(point.detail),
        }


def _bounded(number: int) -> int:
    return min(number, _MAX_INT)


def _json(value: Attributes | Any) -> str:
    return orjson.dumps(value, default=_plain).decode()


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else dict(value) if isinstance(value, Mapping) else str(value)
