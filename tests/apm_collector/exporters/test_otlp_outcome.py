"""Reading the response of a successful export."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from apm_collector.exporters.otlp_outcome import Outcome, read_response
from apm_store.model import Signal

RESPONSES = [
    (Signal.TRACES, ExportTraceServiceResponse, "rejected_spans"),
    (Signal.METRICS, ExportMetricsServiceResponse, "rejected_data_points"),
    (Signal.LOGS, ExportLogsServiceResponse, "rejected_log_records"),
]


@pytest.mark.parametrize(("signal", "response_type", "field"), RESPONSES)
def test_rejected_items_are_read_for_every_signal(signal: Signal, response_type: Any, field: str) -> None:
    """Each signal has a field of its own."""
    response = response_type()
    setattr(response.partial_success, field, 2)

    assert read_response(signal, response.SerializeToString()) == Outcome(2, "")


@pytest.mark.parametrize("body", [b"", b"\xff", b"not protobuf"])
def test_what_is_no_response_says_nothing(body: bytes) -> None:
    """Nothing was rejected as far as one can tell."""
    assert read_response(Signal.TRACES, body) == Outcome()


def test_a_negative_count_is_nonsense() -> None:
    """It counts as none."""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = -5

    assert read_response(Signal.TRACES, response.SerializeToString()).rejected == 0
