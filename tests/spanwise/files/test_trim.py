"""Requests keep exactly the items that were asked for."""

from __future__ import annotations

from builders import make_request, make_span
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from apm_store.model import Signal
from apm_store.query import TimeRange
from spanwise.files.trim import trim


@given(st.lists(st.integers(0, 20), max_size=8), st.integers(0, 20), st.integers(0, 20))
def test_spans_are_kept_by_their_start(starts: list[int], first: int, last: int) -> None:
    """A span stays exactly when its start lies in the half-open range; nothing empty stays around it."""
    request = make_request([make_span("s", span=n, start_ns=start) for n, start in enumerate(starts, 1)])

    left = trim(Signal.TRACES, request, TimeRange(first, last))

    kept = [span.start_time_unix_nano for one in request.resource_spans for span in one.scope_spans[0].spans]
    assert kept == [start for start in starts if first <= start < last]
    assert left == len(kept)
    assert bool(request.resource_spans) == bool(kept)


def test_spans_of_other_traces_go() -> None:
    """With a trace id only its spans stay."""
    request = make_request([make_span("a", trace=1), make_span("b", trace=2), make_span("c", trace=1, span=2)])

    left = trim(Signal.TRACES, request, TimeRange(0, 2**64), (1).to_bytes(16, "big"))

    assert left == 2
    assert [span.name for span in request.resource_spans[0].scope_spans[0].spans] == ["a", "c"]


def test_log_records_without_a_time_go_by_the_observed_one() -> None:
    """The observed time stands in for a missing time."""
    records = [{"time_unix_nano": 5, "observed_time_unix_nano": 50}, {"observed_time_unix_nano": 7}, {}]
    request = ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": records}]}])

    assert trim(Signal.LOGS, request, TimeRange(1, 10)) == 2


def test_metrics_lose_points_and_then_themselves() -> None:
    """A metric stays while it has a point in the range."""
    metrics = [
        {"name": "g", "gauge": {"data_points": [{"time_unix_nano": 1}, {"time_unix_nano": 5}]}},
        {"name": "s", "sum": {"data_points": [{"time_unix_nano": 1}]}},
        {"name": "empty"},
    ]
    request = ExportMetricsServiceRequest(resource_metrics=[{"scope_metrics": [{"metrics": metrics}]}])

    left = trim(Signal.METRICS, request, TimeRange(5, 6))

    (metric,) = request.resource_metrics[0].scope_metrics[0].metrics
    assert (left, metric.name, len(metric.gauge.data_points)) == (1, "g", 1)
