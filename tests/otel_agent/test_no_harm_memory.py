"""No harm to memory: spans that cannot be sent are dropped in time, counted exactly, and told of later."""

import threading

import pytest

HOARD = """
import os, sys, time
import psutil
from opentelemetry import trace
tracer = trace.get_tracer("host")
def make(n):
    attributes = {f"key.{i}": f"value {n} of {i}" for i in range(8)}
    tracer.start_span(f"work {n}", attributes=attributes).end()
make(0)
rss = psutil.Process().memory_info().rss
for n in range(1, COUNT):
    make(n)
print((psutil.Process().memory_info().rss - rss) / 1e6)
"""


def lost_spans(sink):
    """Return what the agent says it has dropped, per reading."""
    name = "otel.sdk.processor.span.processed"
    return [m.sum.data_points[0].as_int for _, _, m in sink.metrics if m.name == name]


def test_queue_is_bounded_while_the_collector_is_down(run_host, dead_port):
    """With nobody to take a hundred thousand spans, the host grows by 50 MB at most."""
    outcome = run_host(HOARD.replace("COUNT", "100_000"), OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}")

    assert (outcome.code, outcome.err) == (0, "")
    assert float(outcome.out) < 50


MILLION = """
import random, time
import psutil
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
provider = trace.get_tracer_provider()
process = psutil.Process()
provider.get_tracer("host").start_span("first").end()
rss, most = process.memory_info().rss, 0
for n in range(1_000_000):
    context = trace.SpanContext(random.getrandbits(128), random.getrandbits(64), False, trace.TraceFlags(1))
    provider._active_span_processor.on_end(
        ReadableSpan(f"work {n}", context, resource=provider.resource, attributes={"key": f"value {n}"}, start_time=n)
    )
    if n % 10_000 == 0:
        most = max(most, process.memory_info().rss - rss)
print(most / 1e6)
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", ["nobody listens", "nobody answers"])
def test_million_spans_that_cannot_be_sent(run_host, dead_port, black_hole, fault):
    """While a million spans end that nobody takes, the host never grows by more than 50 MB."""
    port = dead_port if fault == "nobody listens" else black_hole
    outcome = run_host(MILLION, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")

    assert (outcome.code, outcome.err) == (0, "")
    print(f"a million spans while {fault}: {float(outcome.out):.1f} MB more")
    assert float(outcome.out) < 50


def test_lost_spans_are_counted_and_told(run_host, dead_port, late_sink):
    """Once the collector is there, arrived and lost spans together are exactly those that were made."""
    sinks = []
    timer = threading.Timer(5, lambda: sinks.append(late_sink(dead_port)))
    timer.start()

    run_host(
        HOARD.replace("COUNT", "20_000") + "time.sleep(7)",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}",
        SPANWISE_PROCESS_METRICS_INTERVAL="1",
    )

    (sink,) = sinks
    assert len(sink.spans) + lost_spans(sink)[-1] == 20_000
    assert len(sink.spans) == 4096


def test_nothing_is_told_as_lost_that_arrives(run_host, late_sink, dead_port):
    """Nothing is told as lost while everything arrives."""
    sink = late_sink(dead_port)

    run_host(HOARD.replace("COUNT", "2_000"), OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert len(sink.spans) == 2_000
    assert lost_spans(sink) == []


def test_read_only_directories_are_no_matter(run_host, dead_port):
    """The queue is in memory alone: a host whose home and temporary directory cannot be written runs as before."""
    outcome = run_host(
        HOARD.replace("COUNT", "100"),
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}",
        HOME="/proc/1/nowhere",
        TMPDIR="/proc/1/nowhere",
    )

    assert (outcome.code, outcome.err) == (0, "")
