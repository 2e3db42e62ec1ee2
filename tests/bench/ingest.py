"""Prints what the collector takes: rates over HTTP, gRPC and JSON, a burst, freshness, loss, CPU, memory and disk.

The sender runs on the same machine, in a process of its own, and is not counted. Gives 1 only when data was lost.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench import floor
from bench.generator import Generator
from bench.report import percentile, show, show_least, show_most
from bench.sender import Load, Sending, Sent
from bench.server import Server, bytes_on_disk

RATES = {"http": 60_000, "grpc": 30_000, "json": 10_000}
_HEADROOM = 1.02  # what is sent beyond a target, so that reaching it does not hang on the last answer
BURST_RATE, BURST_S = 300_000, 10.0
FRESH_S, CPU_US, PEAK_MIB, DISK_BYTES = 2.0, 16.0, 300.0, 170.0
_CATCH_UP_S = 600.0
_MAX_STEPS = 5  # downwards, in the search for a rate that holds
_STEP = 0.85


@dataclass
class Run:
    """One load against a stack of its own."""

    sent: Sent
    fresh_s: list[float]
    searchable_s: float
    stored: int
    cpu_us_per_span: float
    peak_mib: float
    bytes_per_span: float

    @property
    def lost(self) -> int:
        """Acknowledged spans that cannot be found."""
        return max(0, self.sent.spans - self.stored)

    @property
    def is_sustained(self) -> bool:
        """Whether everything was searchable in time, to the end."""
        return max(self.fresh_s) <= FRESH_S and self.sent.refusals == 0

    @property
    def searchable_per_s(self) -> float:
        """Spans per second from the first request until the last span was searchable."""
        return self.sent.spans / self.searchable_s


def main() -> int:
    """Run every load, print the table; give 1 when acknowledged data was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of the sustained HTTP load; the others take a third")
    parser.add_argument("--repeats", type=int, default=3, help="of every load")
    parser.add_argument("--quick", action="store_true", help="5 s, once: shows that the benchmark works")
    args = parser.parse_args()
    seconds, repeats = (5.0, 1) if args.quick else (args.seconds, args.repeats)
    print(f"{repeats} run(s) of each load, {seconds:g} s sustained; median, and least to greatest of several runs\n")
    lost = _sustained(seconds, repeats)
    for protocol in ("grpc", "json"):
        runs = [run_load(protocol, RATES[protocol] * _HEADROOM, max(3.0, seconds / 3)) for _ in range(repeats)]
        _show_rate(protocol, runs)
        lost += _lost(runs)
    lost += _burst(BURST_S if not args.quick else 3.0, repeats)
    show("acknowledged spans lost, all loads together", f"{lost:,}", lost == 0, "0")
    return 1 if lost else 0


def run_load(protocol: str, spans_per_s: float, seconds: float) -> Run:
    """Start a stack, send, watch how soon each second's newest trace is found, wait for the rest, stop it."""
    with tempfile.TemporaryDirectory(prefix="spanwise-bench-") as directory:
        data_dir = Path(directory) / "data"
        with Server(data_dir) as server:
            sending = Sending(Load(protocol, server.ports[protocol], spans_per_s, seconds))
            sending.wait_started()
            cpu_s = server.cpu_s()
            fresh_s, sent = _watch(server, sending)
            server.wait_stored(sent.spans, _CATCH_UP_S)
            searchable_s = time.monotonic() - sent.started_s
            stored = server.stored()
            cpu_us = (server.cpu_s() - cpu_s) / sent.spans * 1e6
            peak_mib = server.peak_mib()
        disk = bytes_on_disk(data_dir) / sent.spans
    return Run(sent, fresh_s, searchable_s, stored, cpu_us, peak_mib, disk)


def _watch(server: Server, sending: Sending) -> tuple[list[float], Sent]:
    """Look for each acknowledged trace, oldest first, until it is found; seconds from its acknowledgement to then."""
    waiting: list[tuple[str, float]] = []
    fresh_s: list[float] = []
    while sending.result is None or waiting:
        waiting += sending.acknowledged()
        if waiting and server.has_trace(waiting[0][0]):
            fresh_s.append(time.monotonic() - waiting.pop(0)[1])
        elif waiting and time.monotonic() - waiting[0][1] > _CATCH_UP_S:
            fresh_s.append(float("inf"))
            waiting.pop(0)
        else:
            time.sleep(0.025)
    return fresh_s, sending.result


def _sustained(seconds: float, repeats: int) -> int:
    """The main load, and all that is measured under it; gives the spans lost."""
    runs = [run_load("http", RATES["http"] * _HEADROOM, seconds) for _ in range(repeats)]
    is_met = _show_rate("http", runs)
    show_most("http: collector CPU per span", [run.cpu_us_per_span for run in runs], CPU_US, ".1f", " µs")
    show_most("http: collector's peak RSS", [run.peak_mib for run in runs], PEAK_MIB, ".0f", " MiB")
    show_most("http: disk per span, index included", [run.bytes_per_span for run in runs], DISK_BYTES, ".0f", " B")
    show("http: body per span as sent", f"{runs[0].sent.body_bytes / runs[0].sent.spans:.0f} B")
    show("http: the sender's own CPU per span", f"{runs[0].sent.cpu_s / runs[0].sent.spans * 1e6:.2f} µs")
    _show_floor(runs)
    return _lost(runs) + (0 if is_met else _search_rate(runs, seconds))


def _search_rate(runs: Sequence[Run], seconds: float) -> int:
    """Step down from what was searchable per second until a rate holds; gives the spans lost on the way."""
    rate, lost = statistics.median(run.searchable_per_s for run in runs), 0
    for _ in range(_MAX_STEPS):
        run = run_load("http", rate, max(3.0, seconds / 3))
        lost += run.lost
        if run.is_sustained and run.sent.spans_per_s >= 0.97 * rate:
            show("http: highest rate that was sustained", f"{run.sent.spans_per_s:,.0f} spans/s")
            return lost
        rate *= _STEP
    show("http: highest rate that was sustained", f"below {rate / _STEP:,.0f} spans/s")
    return lost


def _show_rate(protocol: str, runs: Sequence[Run]) -> bool:
    """Rate, freshness and latency of one kind of load; whether rate and freshness reach their targets."""
    is_fast = show_least(
        f"{protocol}: acknowledged per second", [run.sent.spans_per_s for run in runs], RATES[protocol]
    )
    show(f"{protocol}: searchable per second", f"{statistics.median(run.searchable_per_s for run in runs):,.0f}")
    is_fresh = show_most(
        f"{protocol}: searchable after, slowest", [max(run.fresh_s) for run in runs], FRESH_S, ".2f", " s"
    )
    latencies = [ms for run in runs for ms in run.sent.ack_ms]
    p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
    show(f"{protocol}: acknowledgement p50, p99", f"{p50:.0f} ms, {p99:.0f} ms")
    _show_counts(protocol, runs)
    return is_fast and is_fresh


def _show_counts(name: str, runs: Sequence[Run]) -> None:
    sent, stored = sum(run.sent.spans for run in runs), sum(run.stored for run in runs)
    refusals, unanswered = sum(run.sent.refusals for run in runs), sum(run.sent.unanswered for run in runs)
    show(f"{name}: spans sent, stored", f"{sent:,}, {stored:,}", sent == stored, "sent = stored")
    show(
        f"{name}: requests refused and sent again, failed", f"{refusals:,}, {unanswered:,}", unanswered == 0, "0 failed"
    )


def _lost(runs: Sequence[Run]) -> int:
    return sum(run.lost for run in runs)


def _show_floor(runs: Sequence[Run]) -> None:
    """What a bare insert of the same requests costs, and how far the collector is from it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        bare = pool.submit(_measure_floor).result()
    cost = f"{bare.spans_per_s:,.0f}/s, {bare.cpu_us_per_span:.1f} µs, {bare.bytes_per_span:.0f} B per span"
    show("floor: parse and bare narrow-row insert", cost)
    ratio = statistics.median(run.cpu_us_per_span for run in runs) / bare.cpu_us_per_span
    show("http: collector CPU ÷ floor CPU", f"{ratio:.2f}")


def _measure_floor() -> floor.Floor:
    generator, now_ns = Generator.make(), time.time_ns()
    return floor.measure([request for number in range(1, 13) for request in generator.wave(number, now_ns)])


def _burst(seconds: float, repeats: int) -> int:
    """A load far above what can be indexed at once: taken at that rate, and worked off."""
    runs = [run_load("http", BURST_RATE * _HEADROOM, seconds) for _ in range(repeats)]
    show_least("burst: acknowledged per second", [run.sent.spans_per_s for run in runs], BURST_RATE)
    show("burst: all searchable after its end", f"{max(run.searchable_s - seconds for run in runs):.1f} s")
    show_most("burst: collector's peak RSS", [run.peak_mib for run in runs], PEAK_MIB, ".0f", " MiB")
    _show_counts("burst", runs)
    return _lost(runs)


if __name__ == "__main__":
    sys.exit(main())
