"""Prints what the agent costs its host: CPU, latency, start-up and memory, with and without it in turn; and features.

The hosts are a Flask and a FastAPI application whose requests take about 10 ms: three queries, work and some waiting.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.agent_hosts import FASTAPI, FLASK, STATEMENTS
from bench.report import percentile, show, show_most, spread

BOOTSTRAP = Path(__file__).parents[2] / "otel_agent" / "bootstrap"
MOST_CPU_PERCENT, MOST_P99_MS, MOST_START_S, MOST_RSS_MB = 5.0, 1.0, 0.5, 20.0
SPANS = 20_000
# Of a request of 10 ms, what is neither waiting nor the framework's and the database's.
_WORK_S = 0.0072
# So old a host is measured: its first two readings of metrics cost two to three times as much as all others.
_SETTLE_S = 4.5
# So long after a request a host does nothing any more but what goes by the clock, which is measured for so long.
_UNTIL_IDLE_S, _IDLE_S = 1.0, 2.0


def main() -> int:
    """Measure everything and print it; give 1 when a median misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="figures of which the median and the spread are shown")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of hosts, with and without the agent, per figure")
    parser.add_argument("--turns", type=int, default=6, help="turns of each host of a pair")
    parser.add_argument("--requests", type=int, default=30, help="requests in a turn")
    parser.add_argument("--no-features", action="store_true", help="leave the features' own tables out")
    args = parser.parse_args()
    with _collector() as port, tempfile.TemporaryDirectory() as directory:
        held = [
            _measure_application(name, script, port, directory, args)
            for name, script in (("Flask", FLASK), ("FastAPI", FASTAPI))
        ]
        _measure_spans(port, directory, args.repeats)
    for module in () if args.no_features else ("agent_costs", "agent_runtime_costs"):
        _show_features(module)
    return 0 if all(held) else 1


def _measure_application(name: str, script: str, port: int, directory: str, args: argparse.Namespace) -> bool:
    """Run pairs of hosts side by side, their requests in turns; print figures, ratios and spreads.

    The same code is up to a tenth faster in one process than in another, by where its memory happens to lie: each
    figure is that of several pairs, two hosts without the agent show what is chance, and the parts of the overhead are
    measured without the code that is the same.
    """
    seeds = [range(first, first + args.pairs) for first in range(0, args.repeats * args.pairs, args.pairs)]
    pairs = [_pairs(script, port, directory, args, some) for some in seeds]
    alike = [_pairs(script, None, directory, args, some[:1]) for some in seeds]
    plain_ms = [one.cpu_ms(0) for one in pairs]
    elapsed_ms = [value for one in pairs for turn in one.turns[0] for value in turn["wall_ms"]]
    times = f"{statistics.median(elapsed_ms):.1f} ms, of it {statistics.median(plain_ms):.1f} ms CPU"
    show(f"{name}: a request without the agent", times)
    show(f"{name}: CPU of a second host without it", spread([pair.overhead() for pair in alike], "+.1f") + " %")
    held = [
        show_most(f"{name}: CPU overhead, all threads", [p.overhead() for p in pairs], MOST_CPU_PERCENT, ".1f", " %")
    ]
    show(f"{name}: added CPU, its parts added up", spread([one.parts_ms() for one in pairs], ".2f") + " ms")
    parts = [one.parts_ms() / one.cpu_ms(0) * 100 for one in pairs]
    held.append(show_most(f"{name}: CPU overhead, its parts added up", parts, MOST_CPU_PERCENT, ".1f", " %"))
    for what, key, share in (
        ("p50, CPU outside of the host's own work", "outside_ms", 0.5),
        ("p99, CPU outside of the host's own work", "outside_ms", 0.99),
        ("p99, CPU", "thread_ms", 0.99),
        ("p99", "wall_ms", 0.99),
        ("p50", "wall_ms", 0.5),
    ):
        show(
            f"{name}: {what}, of a second host without it", spread([p.added(key, share) for p in alike], "+.2f") + " ms"
        )
        added_ms = [pair.added(key, share) for pair in pairs]
        held.append(show_most(f"{name}: added {what}", added_ms, MOST_P99_MS, ".2f", " ms"))
        show(f"{name}: added {what}, all pairs as one", f"{_together(pairs).added(key, share):.2f} ms")
    for what, key, most, unit in (
        ("start-up, CPU", "start_cpu_s", MOST_START_S, " s"),
        ("start-up", "start_s", MOST_START_S, " s"),
        ("memory (RSS)", "rss_mb", MOST_RSS_MB, " MB"),
    ):
        held.append(show_most(f"{name}: added {what}", [pair.gained(key) for pair in pairs], most, ".2f", unit))
    return all(held)


@dataclass
class _Pairs:
    """Figures of hosts without the agent and of ones with it, in this order."""

    ready: tuple[list[dict[str, float]], list[dict[str, float]]] = field(default_factory=lambda: ([], []))
    turns: tuple[list[dict[str, Any]], list[dict[str, Any]]] = field(default_factory=lambda: ([], []))
    idle: tuple[list[dict[str, float]], list[dict[str, float]]] = field(default_factory=lambda: ([], []))

    def cpu_ms(self, index: int) -> float:
        """CPU of a request, all threads; what a host does by the clock while the other has its turn is left out.

        It is the mean of all turns: what is done every few seconds falls into few of them.
        """
        idle_ms_per_s = statistics.fmean(idle["cpu_ms"] / idle["waited_s"] for idle in self.idle[index])
        spent_ms = sum(turn["cpu_ms"] - turn["waited_s"] * idle_ms_per_s for turn in self.turns[index])
        return float(spent_ms / sum(len(turn["thread_ms"]) for turn in self.turns[index]))

    def mean_ms(self, index: int, key: str) -> float:
        """Mean of all requests."""
        return statistics.fmean(value for turn in self.turns[index] for value in turn[key])

    def overhead(self) -> float:
        """Percent of CPU more."""
        return (self.cpu_ms(1) / self.cpu_ms(0) - 1) * 100

    def parts_ms(self) -> float:
        """CPU more that a request takes outside of the host's own work, and that other threads take for it.

        What the host's own work takes is left out: it is the same code, and differs by more than the agent costs.
        """
        plain, traced = (
            self.cpu_ms(index) - self.mean_ms(index, "thread_ms") + self.mean_ms(index, "outside_ms")
            for index in (0, 1)
        )
        return traced - plain

    def added(self, key: str, share: float) -> float:
        """Milliseconds more at a percentile of all requests."""
        plain, traced = ([value for turn in turns for value in turn[key]] for turns in self.turns)
        return percentile(traced, share) - percentile(plain, share)

    def gained(self, key: str) -> float:
        """How much more a host with the agent needs to get ready."""
        plain, traced = (statistics.median(host[key] for host in hosts) for hosts in self.ready)
        return traced - plain


def _pairs(script: str, port: int | None, directory: str, args: argparse.Namespace, seeds: Iterable[int]) -> _Pairs:
    """Run pairs of hosts one after the other, the second of each under the agent if there is a port."""
    pairs = _Pairs()
    for seed in seeds:
        _run_pair(pairs, script, port, directory, args, seed)
    return pairs


def _together(some: list[_Pairs]) -> _Pairs:
    """Take several for one: a percentile of all their requests varies less than the median of their percentiles."""
    ready, turns, idle = (
        tuple([figure for pairs in some for figure in getattr(pairs, name)[index]] for index in (0, 1))
        for name in ("ready", "turns", "idle")
    )
    return _Pairs(ready, turns, idle)


def _run_pair(
    pairs: _Pairs, script: str, port: int | None, directory: str, args: argparse.Namespace, seed: int
) -> None:
    """Add the figures of a pair: both hosts hash alike and are started first in turn, or one would be luckier."""
    hosts: dict[int, subprocess.Popen[str]] = {}
    script = script.replace("WORK_ROUNDS", str(_rounds_of_work()))
    for index in (0, 1) if seed % 2 else (1, 0):
        host = hosts[index] = _start(script, port if index else None, directory, str(time.time()), seed=seed)
        pairs.ready[index].append(json.loads(host.stdout.readline() if host.stdout else ""))
    _pause(hosts, _SETTLE_S)
    for turn in range(args.turns):
        for index in (0, 1) if turn % 2 else (1, 0):
            pairs.turns[index].append(_ask(hosts[index], args.requests))
    for index, late in enumerate(_pause(hosts, _UNTIL_IDLE_S)):
        pairs.turns[index].append(late)
    for index, idle in enumerate(_pause(hosts, _IDLE_S)):
        pairs.idle[index].append(idle)
    for host in hosts.values():
        host.communicate()


def _pause(hosts: dict[int, subprocess.Popen[str]], pause_s: float) -> list[dict[str, Any]]:
    """Ask nothing of the hosts for so long; return what they did meanwhile."""
    time.sleep(pause_s)
    return [_ask(hosts[index], 0) for index in (0, 1)]


def _ask(host: subprocess.Popen[str], requests: int) -> dict[str, Any]:
    """Let a host serve so many requests; return its figures since the last time."""
    if host.stdin is None or host.stdout is None:
        raise ValueError("the host has no pipes")
    host.stdin.write(f"{requests}\n")
    host.stdin.flush()
    figures: dict[str, Any] = json.loads(host.stdout.readline())
    return figures


def _measure_spans(port: int, directory: str, repeats: int) -> None:
    """Print the CPU of one span, made, queued, encoded and sent, as the difference of two loops of statements."""
    costs_us = []
    for _ in range(repeats):
        plain_s, traced_s = (float(_run(STATEMENTS, p, directory, str(SPANS))) for p in (None, port))
        costs_us.append((traced_s - plain_s) / SPANS * 1e6)
    show_most("one statement span, made to sent (CPU)", costs_us, 100, ".1f", " µs")


def _show_features(module_name: str) -> None:
    """Print the features' own cost tables, where these are there."""
    try:
        module = importlib.import_module(f"bench.{module_name}")
    except ModuleNotFoundError:
        return
    measure: Callable[[], object] | None = getattr(module, "main", None)
    if measure is not None:
        sys.argv = [module_name]  # it reads options of its own
        measure()


def _run(script: str, port: int | None, directory: str, *arguments: str) -> str:
    """Run a host script to its end; return what it prints."""
    return _start(script, port, directory, *arguments).communicate()[0]


def _start(script: str, port: int | None, directory: str, *arguments: str, seed: int = 0) -> subprocess.Popen[str]:
    """Start a host script; with a port, under the agent and with the collector there."""
    steering = ("OTEL_", "PYTHON", "SPANWISE_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    environment["PYTHONHASHSEED"] = str(seed)
    if port is not None:
        environment |= {
            "PYTHONPATH": str(BOOTSTRAP),
            "OTEL_SERVICE_NAME": "bench",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        }
    path = Path(directory, "app.py")  # a file, as hosts are: code that is typed in has no place to be found
    path.write_text(script, encoding="utf-8")
    command, pipe = [sys.executable, str(path), *arguments], subprocess.PIPE
    return subprocess.Popen(command, env=environment, cwd=directory, stdin=pipe, stdout=pipe, text=True)


def _rounds_of_work() -> int:
    """How often a host repeats its work for a request to take about 10 ms on this machine, as busy as it now is."""
    rows = [(n, n * 1.5) for n in range(31)]
    rounds_s = []
    for _ in range(5_000):
        start_s = time.thread_time()
        text = json.dumps([{"id": row[0], "amount": row[1], "share": row[1] / 697.5} for row in rows])
        sorted(json.loads(text), key=lambda row: -row["amount"])
        rounds_s.append(time.thread_time() - start_s)
    return max(1, round(_WORK_S / statistics.median(rounds_s)))


class _Taker(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        return


def _take(ready: Connection) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Taker)
    server.daemon_threads = True
    ready.send(server.server_address[1])
    server.serve_forever()


@contextmanager
def _collector() -> Iterator[int]:
    """Yield the port of a collector that takes everything, in a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_take, args=(theirs,), daemon=True)
    process.start()
    yield int(ours.recv())
    process.terminate()
    process.join()


if __name__ == "__main__":
    sys.exit(main())
