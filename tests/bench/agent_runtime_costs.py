"""Prints what each of the agent's run-time features costs: CPU per operation with and without it, interleaved.

CPU is that of the whole process, so the features' threads count. A ratio is taken within each pair of neighbours.
"""

from __future__ import annotations

import argparse
import asyncio
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from report import show, show_most, spread

from otel_agent.enrichments import _running_loops, event_loop, memory, open_spans, profiler
from otel_agent.enrichments._open_span_table import TABLE
from otel_agent.enrichments._worker import Worker

SPANS = 4_000
IDLE_S = 2.0


def cpu_us(work: Callable[[], object], operations: int) -> float:
    """CPU microseconds of the process per operation; `work` does that many."""
    start_ns = time.process_time_ns()
    work()
    return (time.process_time_ns() - start_ns) / 1000 / operations


def compare(name: str, without: Callable[[], float], with_it: Callable[[], float], repeats: int) -> None:
    """Measure both in turn, print both and the ratios of the pairs."""
    pairs = [(without(), with_it()) for _ in range(repeats)]
    before, after = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    ratios = [pair[1] / pair[0] for pair in pairs]
    show(name, f"{spread(before, '.2f')} → {spread(after, '.2f')} µs")
    show("", f"× {spread(ratios, '.3f')}")


def spans_with(*processors: SpanProcessor) -> Callable[[], float]:
    """A run of SERVER spans on a provider that has these processors and one that stands for the exporter's."""
    provider = TracerProvider(shutdown_on_exit=False)
    for processor in (SpanProcessor(), *processors):
        provider.add_span_processor(processor)
    tracer = provider.get_tracer("bench")

    def work() -> None:
        for _ in range(SPANS):
            with tracer.start_as_current_span("GET /orders", kind=trace.SpanKind.SERVER):
                pass

    return lambda: cpu_us(work, SPANS)


def hooks_us(processor: SpanProcessor, repeats: int) -> list[float]:
    """What its hooks alone take for one SERVER span; steadier than the difference of whole spans."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("bench")
    span: Any = tracer.start_span("GET /orders", kind=trace.SpanKind.SERVER)

    def work() -> None:
        for _ in range(SPANS):
            processor.on_start(span)
            processor.on_end(span)

    return [cpu_us(work, SPANS) for _ in range(repeats)]


def open_spans_cost(repeats: int) -> None:
    """Per span: taking it down and striking it out, with the thread that looks for long ones."""
    TABLE.install(Worker("BenchOpenSpans", open_spans._Recorder(1.0).tick))
    compare("open_spans, a whole span", spans_with(), spans_with(TABLE), repeats)
    show_most("open_spans, its hooks", hooks_us(TABLE, repeats), 2, ".2f", " µs")


def memory_cost(repeats: int) -> None:
    """Per request: whether pages have come, and the size where they have; per other span next to nothing; a window."""
    growth = memory.EndpointGrowth()
    compare("memory, a whole request", spans_with(), spans_with(growth), repeats)
    show_most("memory, its hooks", hooks_us(growth, repeats), 50, ".2f", " µs")

    def allocate() -> float:
        return cpu_us(lambda: [{"a": [i]} for i in range(20_000)], 20_000)

    def allocate_traced() -> float:
        tracemalloc.start(5)
        try:
            return allocate()
        finally:
            tracemalloc.stop()

    compare("memory, three allocations in an open window", allocate, allocate_traced, repeats)


def event_loop_cost(repeats: int) -> None:
    """A busy loop, and the share of one core that it takes to watch one that has nothing to do."""
    provider = TracerProvider(shutdown_on_exit=False)
    trace.set_tracer_provider(provider)
    event_loop.start()
    tracer = provider.get_tracer("bench")
    observers = list(_running_loops._observers)

    async def hops() -> None:
        for _ in range(20_000):
            await asyncio.sleep(0)

    def run(coroutine: Callable[[], object], is_on: bool, operations: int) -> float:
        _running_loops._observers[:] = observers if is_on else []
        return cpu_us(lambda: asyncio.run(coroutine()), operations)  # type: ignore[arg-type]

    compare(
        "event_loop, one step of a busy loop",
        lambda: run(hops, False, 20_000),
        lambda: run(hops, True, 20_000),
        repeats,
    )

    async def idle() -> None:
        await asyncio.sleep(IDLE_S)

    async def waiting() -> None:
        with tracer.start_as_current_span("waiting"):
            await idle()

    def share(coroutine: Callable[[], object]) -> float:
        """Percent of a core that the agent adds."""
        return (run(coroutine, True, 1) - run(coroutine, False, 1)) / 1e4 / IDLE_S

    times = range(max(3, repeats // 4))
    show_most("event_loop, idle loop", [share(idle) for _ in times], 0.1, ".3f", " % of a core")
    show("event_loop, a span waits in it", spread([share(waiting) for _ in times], ".3f") + " % of a core")
    _running_loops._observers.clear()


def profiler_cost(repeats: int) -> None:
    """A sample of one thread that is 25 calls deep in a span, 49 times a second; `slow`: its share of each span."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(TABLE)
    sampler = profiler._Profiler(None)

    def deep(depth: int) -> float:
        if depth:
            return deep(depth - 1)
        return cpu_us(lambda: [sampler.tick() for _ in range(500)], 500)

    with provider.get_tracer("bench").start_as_current_span("busy"):
        samples_us = [deep(25) for _ in range(repeats)]
    show("profiler, one sample", spread(samples_us, ".2f") + " µs")
    shares = [value * profiler._FREQUENCY_HZ / 1e4 for value in samples_us]
    show_most("profiler on, 49 samples a second of one thread", shares, 1, ".3f", " % of a core")
    compare("profiler slow, a whole span", spans_with(), spans_with(profiler.SlowSpans()), repeats)
    show("profiler slow, its hooks", spread(hooks_us(profiler.SlowSpans(), repeats), ".2f") + " µs")


def main() -> None:
    """Measure all features, or those named."""
    features = {"open_spans": open_spans_cost, "memory": memory_cost, "event_loop": event_loop_cost}
    features["profiler"] = profiler_cost
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", nargs="*", choices=[[], *features], default=[])
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False))
    _logs.set_logger_provider(LoggerProvider(shutdown_on_exit=False))
    for name in args.features or features:
        features[name](args.repeats)


if __name__ == "__main__":
    main()
