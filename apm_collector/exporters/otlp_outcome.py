"""What an OTLP backend made of a request that it took: the same over HTTP and gRPC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from apm_collector.log_text import printable
from apm_store.model import Signal

_RESPONSES: dict[Signal, tuple[type[Message], str]] = {
    Signal.TRACES: (ExportTraceServiceResponse, "rejected_spans"),
    Signal.METRICS: (ExportMetricsServiceResponse, "rejected_data_points"),
    Signal.LOGS: (ExportLogsServiceResponse, "rejected_log_records"),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many items the backend rejected singly, and why; 0 and "" when it took all."""

    rejected: int = 0
    message: str = ""


def read_response(signal: Signal, body: bytes) -> Outcome:
    """Read the response of a successful export; one that is no such response says nothing, and is still a success."""
    response_type, rejected_field = _RESPONSES[signal]
    try:
        partial: Any = getattr(response_type.FromString(body), "partial_success", None)
    except DecodeError:
        return Outcome()
    return Outcome(max(0, getattr(partial, rejected_field)), printable(partial.error_message))
