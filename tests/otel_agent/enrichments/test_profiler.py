"""Stack samples are tied to the span that the thread or the task was in."""

import pytest
from asgi_hosts import SERVE

BUSY = """
import time
from opentelemetry import trace
tracer = trace.get_tracer("host")

def burn(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
"""


def profiles(sink):
    """The profiles as {span name: (log record, its attributes, {stack: count})}; those of one span are added up."""
    found = {}
    for _, scope, record in sink.logs:
        if scope == "spanwise.profiler":
            attributes = sink.attributes_of(record)
            _, _, stacks = found.setdefault(attributes["span.name"], (record, attributes, {}))
            for line in record.body.string_value.splitlines():
                stack, _, count = line.rpartition(" ")
                stacks[stack] = stacks.get(stack, 0) + int(count)
    return found


def samples_in(stacks, function):
    """How many samples have the function on their stack."""
    return sum(count for stack, count in stacks.items() if f":{function}:" in stack)


def test_samples_belong_to_the_innermost_span(sink, run_host, tmp_path):
    """About 49 samples a second, each in the span that was current, with the local root's name and id."""
    script = (
        BUSY
        + """
with tracer.start_as_current_span("outer"):
    with tracer.start_as_current_span("inner"):
        burn(0.6)
    time.sleep(0.3)
burn(0.2)
"""
    )

    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, SPANWISE_PROFILER="on")

    found = profiles(sink)
    assert found.keys() == {"outer", "inner"}
    outer, inner = sink.spans_named("outer")[0], sink.spans_named("inner")[0]
    record, attributes, stacks = found["inner"]
    assert (record.event_name, record.trace_id, record.span_id) == ("profile.samples", inner.trace_id, inner.span_id)
    assert (attributes["local_root.name"], attributes["local_root.span_id"]) == ("outer", outer.span_id.hex())
    assert attributes["profile.sample.period_ns"] == pytest.approx(1e9 / 49, abs=1)
    assert 10 <= samples_in(stacks, "burn") <= attributes["profile.sample.count"] <= 45
    assert samples_in(stacks, "burn") >= attributes["profile.sample.count"] - 1  # the first may see the thread start
    assert all(stack.startswith(f"{tmp_path / 'host.py'}:<module>:") for stack in stacks)
    assert samples_in(found["outer"][2], "burn") <= 1
    assert sum(found["outer"][2].values()) >= 5


def test_tasks_and_pool_threads_are_told_apart(sink, run_host):
    """Two tasks of a loop and a thread that a coroutine has handed work to each get their own samples."""
    script = (
        BUSY
        + """
import asyncio

async def task(name, work):
    with tracer.start_as_current_span(name):
        for _ in range(20):
            work(0.01)
            await asyncio.sleep(0.001)

def red(seconds):
    burn(seconds)

def blue(seconds):
    burn(seconds)

def green():
    burn(0.4)

async def handed_over():
    with tracer.start_as_current_span("green"):
        await asyncio.to_thread(green)

async def main():
    await asyncio.gather(task("red", red), task("blue", blue), handed_over())

asyncio.run(main())
"""
    )

    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, SPANWISE_PROFILER="on")

    found = profiles(sink)
    for name in ("red", "blue", "green"):
        assert samples_in(found[name][2], name) >= 3
        assert sum(samples_in(found[name][2], other) for other in {"red", "blue", "green"} - {name}) == 0


def test_a_plain_view_of_fastapi_is_sampled_in_its_thread(sink, run_host):
    """The samples of a `def` endpoint, which runs in a thread of anyio's, belong to the server span."""
    script = (
        BUSY
        + SERVE
        + """
from fastapi import FastAPI

app = FastAPI()

@app.get("/busy")
def busy():
    burn(0.5)

asyncio.run(serve("/busy"))
"""
    )

    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, SPANWISE_PROFILER="on")

    assert samples_in(profiles(sink)["GET /busy"][2], "busy") >= 8


def test_slow_samples_only_what_takes_longer_than_usual(sink, run_host):
    """With `slow`, a span is sampled from its name's 95th percentile on, and one that is as usual never."""
    script = (
        BUSY
        + """
for _ in range(40):
    with tracer.start_as_current_span("usual"):
        time.sleep(0.03)
with tracer.start_as_current_span("usual"):
    with tracer.start_as_current_span("part of it"):
        burn(0.5)
"""
    )

    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, SPANWISE_PROFILER="slow")

    found = profiles(sink)
    assert samples_in(found["part of it"][2], "burn") >= 8
    assert sum(sum(stacks.values()) for name, (_, _, stacks) in found.items() if name == "usual") <= 4


@pytest.mark.parametrize(
    "variables", [{}, {"SPANWISE_PROFILER": "on", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "profiler"}]
)
def test_it_is_off_unless_asked_for(sink, run_host, variables):
    """By default, and when switched off by name, there is neither a thread nor a record."""
    script = (
        BUSY
        + """
from otel_agent.background import BACKGROUND_THREADS
with tracer.start_as_current_span("busy"):
    burn(0.2)
    print("Profiler" in BACKGROUND_THREADS.values())
"""
    )

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, **variables)

    assert outcome.out == "False\n"
    assert profiles(sink) == {}


def test_a_profile_is_bounded(sink, run_host):
    """Many different and deep stacks make one record of at most 32 KB that still counts every sample."""
    script = (
        BUSY
        + """
source = "".join(f"def {'f' * 1500}_{i}(): burn(0.004)\\n" for i in range(150))
functions = {"burn": burn}
exec(compile(source, "many.py", "exec"), functions)
with tracer.start_as_current_span("wide"):
    for name, function in list(functions.items()):
        if name.startswith("fff"):
            function()
"""
    )

    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, SPANWISE_PROFILER="on")

    record, attributes, stacks = profiles(sink)["wide"]
    assert len(record.body.string_value) <= 33_000
    assert "other" in stacks
    assert sum(stacks.values()) == attributes["profile.sample.count"]
