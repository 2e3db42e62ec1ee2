"""Builds the log records that the agent sends of the running code: open spans and stack samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from builders import SECOND, attribute
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from apm_store.model import Batch, Signal

T0 = 1_000 * SECOND
PERIOD_NS = 20_408_163


def make_open_record(
    name: str,
    *,
    trace: int = 1,
    span: int = 1,
    parent: int = 0,
    start_ns: int = T0,
    open_ns: int = SECOND,
    so_far: Mapping[str, Any] | None = None,
    place: tuple[str, int, str] | None = None,
) -> LogRecord:
    """The record of a span that has been open for `open_ns`; `place` is file, line and function."""
    told: dict[str, Any] = {
        "span.name": name,
        "span.kind": "server",
        "span.start_time_unix_nano": start_ns,
        "span.open_duration_ns": open_ns,
    }
    if parent:
        told["span.parent_span_id"] = f"{parent:016x}"
    if place:
        told |= dict(zip(("code.file.path", "code.line.number", "code.function.name"), place, strict=True))
    record = _record("span.open", trace, span, start_ns + open_ns, told)
    pairs = [attribute(key, value) for key, value in (so_far or {}).items()]
    record.body.CopyFrom(AnyValue(kvlist_value=KeyValueList(values=pairs)))
    return record


def make_samples_record(
    stacks: Mapping[str, int],
    *,
    operation: str = "GET /",
    trace: int = 1,
    span: int = 1,
    root: int = 1,
    time_ns: int = T0,
) -> LogRecord:
    """The record of the samples of one span; `stacks` are folded, outermost frame first."""
    told = {
        "span.name": operation,
        "local_root.name": operation,
        "local_root.span_id": f"{root:016x}",
        "profile.sample.count": sum(stacks.values()),
        "profile.sample.period_ns": PERIOD_NS,
    }
    record = _record("profile.samples", trace, span, time_ns, told)
    record.body.string_value = "\n".join(f"{stack} {count}" for stack, count in stacks.items())
    return record


def make_log_record(text: str, *, trace: int = 1, span: int = 1, time_ns: int = T0) -> LogRecord:
    """A log record of the app itself."""
    record = _record("", trace, span, time_ns, {})
    record.body.string_value = text
    return record


def make_log_batch(records: Iterable[LogRecord], service: str = "shop") -> Batch:
    """A batch with the log records of one service."""
    records, request = list(records), ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.append(attribute("service.name", service))
    group.scope_logs.add().log_records.extend(records)
    return Batch(Signal.LOGS, request, request.SerializeToString(), len(records))


def _record(event_name: str, trace: int, span: int, time_ns: int, attributes: Mapping[str, Any]) -> LogRecord:
    return LogRecord(
        event_name=event_name,
        trace_id=trace.to_bytes(16, "big"),
        span_id=span.to_bytes(8, "big"),
        time_unix_nano=time_ns,
        observed_time_unix_nano=time_ns,
        attributes=[attribute(key, value) for key, value in attributes.items()],
    )
