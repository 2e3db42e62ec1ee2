"""Fills a store with millions of spans over the last 24 hours, and keeps it for the next run."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from bench.generator import SECOND_NS, Generator, Request, Template, make_log_template, make_metric_template
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from apm_store.api import SignalWriter, Store, StoreBusyError
from apm_store.model import Batch, Signal
from apm_store.open import open_store

DAY_NS = 86_400 * SECOND_NS
WRITERS = 8
_NOTES = "filled.json"
_TYPES: dict[Signal, Any] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}


@dataclass
class Filled:
    """What is known of a filled store: its age, traces and users to ask for, and CPU µs per span by spans held."""

    spans: int = 0
    end_ns: int = 0
    trace_ids: list[str] = field(default_factory=list)
    user_ids: list[str] = field(default_factory=list)
    cost_us: list[tuple[int, float, float]] = field(default_factory=list)


def filled(directory: Path, spans: int) -> Filled:
    """The store in `directory / "data"`, filled anew unless it holds enough and its last span is under an hour old."""
    notes = directory / _NOTES
    if notes.exists():
        known = Filled(**json.loads(notes.read_text()))
        if known.spans >= spans and time.time_ns() - known.end_ns < DAY_NS // 24:
            return known
        sys.exit(f"{directory} holds {known.spans:,} spans that are too few or too old. Remove it, or name another.")
    store = open_store(directory / "data")
    try:
        known = _fill(store, spans)
    finally:
        store.close()
    notes.write_text(json.dumps(asdict(known)))
    return known


def _fill(store: Store, spans: int) -> Filled:
    """Write waves from the oldest to the newest, and note what each million costs."""
    known = Filled(end_ns=time.time_ns())
    generator = Generator.make()
    waves = int(spans / generator.wave_spans) + 1
    step_ns = DAY_NS // waves
    first_ns = known.end_ns - step_ns * waves
    for signal, template in ((Signal.METRICS, make_metric_template()), (Signal.LOGS, make_log_template())):
        write_all(store, signal, _every_minute(template, first_ns, known.end_ns))
    per_window = max(1, waves // 20)
    for first in range(0, waves, per_window):
        numbers = range(first + 1, min(first + per_window, waves) + 1)
        requests = [one for n in numbers for one in generator.wave(n, first_ns + (n - 1) * step_ns, step_ns)]
        count = sum(request.item_count for request in requests)
        started_s, cpu_s = time.monotonic(), _cpu_s()
        write_all(store, Signal.TRACES, iter(requests))
        store.traces.services()  # answered when all that was written is searchable
        seconds, cpu_s = time.monotonic() - started_s, _cpu_s() - cpu_s
        known.spans += count
        known.cost_us.append((known.spans, cpu_s / count * 1e6, seconds / count * 1e6))
        _remember(known, requests[:: max(1, len(requests) // 20)])
        print(f"  {known.spans:>11,} spans, {count / seconds:,.0f}/s, CPU {known.cost_us[-1][1]:.1f} µs per span")
    return known


def _cpu_s() -> float:
    """User and system time of this process and of all that it has started, such as the one that indexes under load."""
    here = psutil.Process()
    return float(sum(sum(one.cpu_times()[:4]) for one in (here, *here.children())))


def write_all(store: Store, signal: Signal, requests: Iterator[Request]) -> None:
    """Write requests from several threads, so that they share commits; wait where the store asks for it."""
    with ThreadPoolExecutor(WRITERS) as pool:
        for _ in pool.map(lambda request: _write(store, signal, request), requests):
            pass


def _write(store: Store, signal: Signal, request: Request) -> None:
    batch = Batch(signal, _TYPES[signal].FromString(request.body), request.body, request.item_count)
    writer = {Signal.TRACES: store.traces, Signal.METRICS: store.metrics, Signal.LOGS: store.logs}[signal]
    while not _is_taken(writer, batch):
        time.sleep(0.05)


def _is_taken(writer: SignalWriter, batch: Batch) -> bool:
    try:
        writer.write(batch)
    except StoreBusyError:
        return False
    return True


def _every_minute(template: Template, first_ns: int, end_ns: int) -> Iterator[Request]:
    """A request for each minute of a range."""
    for number, time_ns in enumerate(range(first_ns, end_ns, 60 * SECOND_NS), 1):
        yield template.stamp(number, time_ns, 0)


def _remember(known: Filled, requests: list[Request]) -> None:
    """Note traces and users that are in the store."""
    for request in requests:
        message: Any = ExportTraceServiceRequest.FromString(request.body)
        span = message.resource_spans[0].scope_spans[0].spans[0]
        known.trace_ids.append(span.trace_id.hex())
        known.user_ids += [one.value.string_value for one in span.attributes if one.key == "user.id"]
