"""What a condition holds for is dropped and counted, and the rest goes on."""

from __future__ import annotations

from collections import Counter

import pytest
from builders import make_batch, make_span
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from apm_collector.config_keys import ConfigKeyError
from apm_collector.pipeline import ProcessorSettings
from apm_collector.processors.filter import FilterProcessor, read_config
from apm_store.model import Batch, Signal

from .conftest import Sink


def _filter(section: dict, sink: Sink, settings: ProcessorSettings) -> FilterProcessor:
    return FilterProcessor(read_config(section, "filter"), sink, "filter/health", settings)


def test_spans_go_and_the_others_stay(sink: Sink, settings: ProcessorSettings, dropped: Counter) -> None:
    """Body, request and item count are those of the rest."""
    processor = _filter({"traces": {"span": ['name == "a"', 'name == "b"']}}, sink, settings)

    processor.consume(make_batch([make_span(name, span=index + 1) for index, name in enumerate("abca")]))

    assert [span.name for span in sink.spans()] == ["c"]
    assert sink.batches[0].item_count == 1
    assert sink.batches[0].request.SerializeToString() == sink.batches[0].body
    assert dropped == {(Signal.TRACES, "filter/health: a condition holds"): 3}


def test_a_batch_of_which_nothing_is_left_ends(sink: Sink, settings: ProcessorSettings, dropped: Counter) -> None:
    """No exporter sees an empty batch."""
    _filter({"traces": {"span": ['name == "a"']}}, sink, settings).consume(make_batch([make_span("a")]))

    assert (sink.batches, dropped.total()) == ([], 1)


def test_a_batch_that_is_not_touched_is_the_same(sink: Sink, settings: ProcessorSettings) -> None:
    """Nothing is serialised again without need."""
    batch = make_batch([make_span("b")])

    _filter({"traces": {"span": ['name == "a"']}}, sink, settings).consume(batch)

    assert sink.batches[0] is batch


def test_metrics_and_data_points_go(sink: Sink, settings: ProcessorSettings, dropped: Counter) -> None:
    """A metric goes whole or by points, and with its last point; points are what is counted."""
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    for name in ("whole", "half", "gone"):
        points = metrics.add(name=name).gauge.data_points
        for host in ("a", "b"):
            points.add(as_int=1).attributes.add(key="host").value.string_value = host
    section = {
        "metric": ['name == "whole"'],
        "datapoint": ['attributes["host"] == "a"', 'metric.name == "gone"'],
    }

    _filter({"metrics": section}, sink, settings).consume(
        Batch(Signal.METRICS, request, request.SerializeToString(), 6)
    )

    left = list(sink.batches[0].request.resource_metrics[0].scope_metrics[0].metrics)
    assert [(metric.name, len(metric.gauge.data_points)) for metric in left] == [("half", 1)]
    assert (sink.items, dropped.total()) == (1, 5)


def test_log_records_go_by_body_and_severity(sink: Sink, settings: ProcessorSettings) -> None:
    """Empty scopes and resources go with their last record."""
    request = ExportLogsServiceRequest()
    for text in ("heartbeat", "order"):
        record = request.resource_logs.add().scope_logs.add().log_records.add(severity_number=9)
        record.body.string_value = text
    condition = 'IsMatch(body, "^heart") and severity_number == 9'

    _filter({"logs": {"log_record": [condition]}}, sink, settings).consume(
        Batch(Signal.LOGS, request, request.SerializeToString(), 2)
    )

    assert len(sink.batches[0].request.resource_logs) == 1
    assert b"order" in sink.batches[0].body


def test_a_condition_outside_the_grammar_is_refused_at_its_path() -> None:
    """The path says which condition of which list."""
    with pytest.raises(ConfigKeyError, match=r"filter\.traces\.span\[1\]: 'x'"):
        read_config({"traces": {"span": ['name == "a"', "x == 1"]}}, "filter")
