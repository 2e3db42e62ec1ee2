"""How long the garbage collector stops the process."""

import gc

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_agent.gc_metrics import GcPauses, observe_gc


def _points(reader, name):
    data = reader.get_metrics_data()
    metrics = [m for r in data.resource_metrics for scope in r.scope_metrics for m in scope.metrics]
    return [point for metric in metrics if metric.name == name for point in metric.data.data_points]


def test_every_pause_is_in_the_histogram():
    """Collections since the start are counted with their time, by generation."""
    reader = InMemoryMetricReader()
    before = list(gc.callbacks)
    observe_gc(MeterProvider([reader]).get_meter("test"))
    (noting,) = [callback for callback in gc.callbacks if callback not in before]

    gc.collect(2)
    gc.collect(2)
    gc.callbacks.remove(noting)

    (full,) = [p for p in _points(reader, "cpython.gc.pause") if p.attributes["cpython.gc.generation"] == 2]
    assert full.count == 2
    assert 0 < full.sum < 5


def test_pauses_are_handed_over_once():
    """A stop without its start, as when we come in between, is no pause."""
    pauses = GcPauses()
    pauses.note("stop", {"generation": 0})
    pauses.note("start", {"generation": 1})
    pauses.note("stop", {"generation": 1})

    taken = pauses.take(), pauses.take()

    assert [generation for generation, _ in taken[0]] == [1]
    assert taken[1] == []
