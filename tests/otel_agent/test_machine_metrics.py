"""The machine's own figures: sent once per tree of processes."""

import sys

import psutil
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_agent.machine_metrics import observe_machine

EXPECTED = {
    "system.cpu.utilization",
    "system.cpu.logical.count",
    "system.memory.usage",
    "system.memory.utilization",
    "system.memory.limit",
    "system.linux.memory.available",
}


def test_figures_are_those_of_the_machine(monkeypatch, tmp_path):
    """Shares of CPU time add up to one, and memory is what psutil says."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("SPANWISE_PROCESS_TREE", raising=False)
    reader = InMemoryMetricReader()
    observe_machine(MeterProvider([reader]).get_meter("test"))
    reader.get_metrics_data()
    while psutil.cpu_times() == (first := psutil.cpu_times()):
        assert first

    data = reader.get_metrics_data()

    metrics = {m.name: m.data.data_points for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}
    assert sum(point.value for point in metrics["system.cpu.utilization"]) == pytest.approx(1)
    assert metrics["system.memory.limit"][0].value == psutil.virtual_memory().total
    assert metrics["system.cpu.logical.count"][0].value == psutil.cpu_count()
    assert {p.attributes["system.memory.state"] for p in metrics["system.memory.usage"]} >= {"used", "free"}


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and names of Linux")
def test_one_process_of_a_tree_sends_them(sink, run_host, tmp_path):
    """Of a parent, forked and spawned children the parent alone does, though each sends figures of its own."""
    outcome = run_host(
        """
import multiprocessing, os, time
def work():
    time.sleep(2.5)
if __name__ == "__main__":
    children = [multiprocessing.get_context(way).Process(target=work) for way in ("fork", "spawn")]
    for child in children:
        child.start()
    print(os.getpid(), *(child.pid for child in children))
    for child in children:
        child.join()
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
        SPANWISE_PROCESS_METRICS_INTERVAL="1",
        TMPDIR=str(tmp_path),
    )

    parent, *children = (int(word) for word in outcome.out.split())
    pids = {parent, *children}
    senders = {}
    for resource, _, metric in sink.metrics:
        senders.setdefault(metric.name, set()).add(resource["process.pid"])
    assert senders["process.memory.usage"] >= pids
    # Python's own helper of spawned processes ends last, and may have taken over when the parent was gone.
    assert {name: senders[name] & pids for name in EXPECTED} == {name: {parent} for name in EXPECTED}
