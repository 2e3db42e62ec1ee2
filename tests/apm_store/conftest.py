"""Requests that fill every field of OTLP, and batches of log records and data points."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from builders import SECOND, attribute
from google.protobuf.descriptor import FieldDescriptor
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from apm_store.model import Batch, Signal
from apm_store.query import TimeRange

ALL_TIME = TimeRange(0, 2**64)


@pytest.fixture
def all_time() -> TimeRange:
    """A range that holds every time that OTLP can express but the last nanosecond of SQLite's integers."""
    return ALL_TIME


@pytest.fixture
def make_logs() -> Callable[..., Batch]:
    """Makes a batch of the log records of one service."""

    def make(records: Iterable[LogRecord], service: str = "shop") -> Batch:
        request = ExportLogsServiceRequest()
        group = request.resource_logs.add()
        group.resource.attributes.append(attribute("service.name", service))
        group.scope_logs.add().log_records.extend(records)
        count = len(group.scope_logs[0].log_records)
        return Batch(Signal.LOGS, request, request.SerializeToString(), count)

    return make


@pytest.fixture
def make_gauge() -> Callable[..., Batch]:
    """Makes a batch with one gauge of one service: points as (seconds, value, host)."""

    def make(points: Iterable[tuple[int, float, str]], name: str = "memory", service: str = "shop") -> Batch:
        request = ExportMetricsServiceRequest()
        group = request.resource_metrics.add()
        group.resource.attributes.append(attribute("service.name", service))
        metric = group.scope_metrics.add().metrics.add(name=name, unit="By")
        for seconds, value, host in points:
            point = NumberDataPoint(time_unix_nano=seconds * SECOND, as_double=value)
            point.attributes.append(attribute("host", host))
            metric.gauge.data_points.append(point)
        return Batch(Signal.METRICS, request, request.SerializeToString(), len(metric.gauge.data_points))

    return make


REQUESTS = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}
_ID_BYTES = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
_MAX_DEPTH = 10  # deep enough for an array in a list in an attribute of an exemplar


class Filler:
    """Fills a message: every field is set to a value that is neither its default nor the same twice."""

    def __init__(self) -> None:
        self._last = 1

    def fill(self, message: Any, depth: int = 0) -> Any:
        """Set all fields; a oneof gets one message per branch where it stands in a list, or else its last branch."""
        for field in message.DESCRIPTOR.fields:
            if field.message_type is None:
                self._fill_scalar(message, field)
            elif depth < _MAX_DEPTH:
                self._fill_message(message, field, depth)
        return message

    def _fill_scalar(self, message: Any, field: FieldDescriptor) -> None:
        if field.is_repeated:
            getattr(message, field.name).extend([self._value(field), self._value(field)])
        elif field.containing_oneof is None or field.name != "string_value_strindex":
            setattr(message, field.name, self._value(field))

    def _fill_message(self, message: Any, field: FieldDescriptor, depth: int) -> None:
        if not field.is_repeated:
            self.fill(getattr(message, field.name), depth + 1)
            getattr(message, field.name).SetInParent()
            return
        branches = [branch for oneof in field.message_type.oneofs for branch in oneof.fields]
        for branch in branches or [None]:
            item = getattr(message, field.name).add()
            self.fill(item, depth + 1)
            if branch is not None and branch.name != "string_value_strindex":
                self._choose(item, branch, depth)

    def _choose(self, item: Any, branch: FieldDescriptor, depth: int) -> None:
        if branch.message_type is None:
            self._fill_scalar(item, branch)
        else:
            item.ClearField(branch.name)
            self.fill(getattr(item, branch.name), depth + 2)
            getattr(item, branch.name).SetInParent()

    def _value(self, field: FieldDescriptor) -> Any:
        self._last += 1
        if field.type == field.TYPE_ENUM:
            return field.enum_type.values[-1].number
        kinds: dict[int, Callable[[], Any]] = {
            field.CPPTYPE_STRING: lambda: f"{field.name} {self._last}",
            field.CPPTYPE_BOOL: lambda: True,
            field.CPPTYPE_DOUBLE: lambda: self._last + 0.5,
        }
        if field.type == field.TYPE_BYTES:
            return self._last.to_bytes(_ID_BYTES.get(field.name, 5), "big")
        return kinds.get(field.cpp_type, lambda: self._last)()


def count_items(signal: Signal, request: Any) -> int:
    """How many spans, data points or log records a request holds."""
    if signal is Signal.TRACES:
        return sum(len(scope.spans) for group in request.resource_spans for scope in group.scope_spans)
    if signal is Signal.LOGS:
        return sum(len(scope.log_records) for group in request.resource_logs for scope in group.scope_logs)
    metrics = (
        metric for group in request.resource_metrics for scope in group.scope_metrics for metric in scope.metrics
    )
    return sum(len(getattr(metric, metric.WhichOneof("data")).data_points) for metric in metrics)


@pytest.fixture(params=list(Signal), ids=lambda signal: signal.value)
def full_batch(request: pytest.FixtureRequest) -> Iterator[Batch]:
    """A batch of each signal in which every field of OTLP has a value of its own."""
    message = Filler().fill(REQUESTS[request.param]())
    yield Batch(request.param, message, message.SerializeToString(), count_items(request.param, message))
