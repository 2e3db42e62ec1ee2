"""What a process tells about itself, at which pace, and after a fork."""

import subprocess
import sys
import time

from otel_agent.process_metrics import _UniqueMemory

EXPECTED = {
    "process.cpu.time",
    "process.cpu.utilization",
    "process.memory.usage",
    "process.memory.unique",
    "process.memory.virtual",
    "process.thread.count",
    "process.context_switches",
    "cpython.gc.collections",
    "cpython.gc.collected_objects",
    "cpython.gc.uncollectable_objects",
}


def test_metrics_arrive_within_five_seconds(sink, clean_environment):
    """A process that only sleeps is seen with its memory, CPU, threads and garbage within 5 s, and again soon after."""
    host = subprocess.Popen(
        [sys.executable, "-c", "input()"],
        env=clean_environment | {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "SPANWISE_PROCESS_METRICS_INTERVAL": "1"},
        stdin=subprocess.PIPE,
    )
    start_s = time.monotonic()
    has_all = sink.wait_for(lambda: sink.metric_names() >= EXPECTED, timeout_s=10)
    seen_after_s = time.monotonic() - start_s
    host.communicate(b"\n", timeout=10)

    assert has_all
    assert seen_after_s < 5
    rss = [m.sum.data_points[0].as_int for _, _, m in sink.metrics if m.name == "process.memory.usage"]
    assert 10_000_000 < rss[0] < 500_000_000


def test_forked_child_measures_itself(sink, clean_environment):
    """A forked child reports its own memory, under its own instance."""
    script = """
import os, sys
pid = os.fork()
if pid == 0:
    ballast = bytearray(b"x" * 60_000_000)
    sys.stdin.read()
    sys.exit(0)
os.waitpid(pid, 0)
"""

    def largest():
        rss = {}
        for resource, _, metric in sink.metrics:
            if metric.name == "process.memory.usage":
                pid, value = resource["process.pid"], metric.sum.data_points[0].as_int
                rss[pid] = max(value, rss.get(pid, 0))
        return rss

    host = subprocess.Popen(
        [sys.executable, "-c", script],
        env=clean_environment | {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "SPANWISE_PROCESS_METRICS_INTERVAL": "1"},
        stdin=subprocess.PIPE,
    )
    has_both = sink.wait_for(lambda: len(largest()) == 2, timeout_s=15)
    host.communicate(timeout=10)

    assert has_both, largest()
    parent = largest().pop(host.pid)
    (child,) = (value for pid, value in largest().items() if pid != host.pid)
    assert child > parent + 40_000_000


def test_context_switches_are_those_of_all_threads(sink, run_host):
    """A process whose threads wait many times, but not its main thread, has as many context switches."""
    script = """
import threading, time
threads = [threading.Thread(target=lambda: [time.sleep(0.0001) for _ in range(1000)]) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""

    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    *_, switches = (metric for _, _, metric in sink.metrics if metric.name == "process.context_switches")
    by_type = {sink.attributes_of(point)["process.context_switch.type"]: point for point in switches.sum.data_points}
    assert by_type["voluntary"].as_int > 3000


def test_unique_memory_is_read_seldom():
    """Asked again at once it tells what it has read before, for the kernel walks all pages to answer."""
    unique_memory = _UniqueMemory()
    first = list(unique_memory())
    ballast = bytearray(b"x" * 30_000_000)

    second = list(unique_memory())

    assert len(ballast) == 30_000_000
    assert first == second
    assert 5_000_000 < first[0][0] < 2_000_000_000


def test_each_group_can_be_switched_off(sink, run_host):
    """Their names work as those of instrumentations do."""
    run_host(
        "import gc, sqlite3; gc.collect()",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="process_metrics,machine_metrics",
    )

    sent = {name.partition(".")[0] for name in sink.metric_names()}
    assert sent == {"cpython"}
    assert "cpython.gc.pause" in sink.metric_names()
