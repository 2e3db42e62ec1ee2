"""Prints how long each question takes on a large store while 5,000 spans/s arrive, asked of API and store."""

from __future__ import annotations

import argparse
import http.client
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from bench.fill import DAY_NS, Filled, filled
from bench.report import percentile, show
from bench.sender import Load, Sending
from bench.server import Server, bytes_on_disk
from bench.shop import OPERATIONS, SERVICES

from apm_analysis.red import service_red
from apm_analysis.slow_queries import rank_slow_queries
from apm_store.api import Store, StoreError
from apm_store.query import (
    HOUR_NS,
    EdgeQuery,
    MetricSeriesQuery,
    Outcome,
    TimeRange,
    TraceQuery,
)
from spanwise.run import ALLOCATOR

P95_MS, P99_MS, MAX_GROWTH = 100.0, 300.0, 1.2
RATE = 5_000
_LISTED_QUERIES = 20  # as many as the API lists, with percentiles, unless more are asked for
_RANGES_NS = (HOUR_NS // 4, HOUR_NS, 6 * HOUR_NS, DAY_NS)


@dataclass(frozen=True)
class Question:
    """One kind of question, put with other values each time: `path` is its address in the API, `ask` asks the store."""

    name: str
    path: Callable[[], str]
    ask: Callable[[Store], object]


def main() -> int:
    """Fill if need be, ask every question often, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=40, help="of every question, each with other values")
    default = Path(tempfile.gettempdir()) / "spanwise-bench-query"
    parser.add_argument("--store", type=Path, default=default, help="kept, and used again within the hour")
    args = parser.parse_args()
    if not ALLOCATOR.items() <= os.environ.items():  # this process asks the store as the UI's does
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | ALLOCATOR)
    args.store.mkdir(parents=True, exist_ok=True)
    known = filled(args.store, args.spans)
    data_dir = args.store / "data"
    _show_cost(known)
    show("size", f"{known.spans:,} spans, {bytes_on_disk(data_dir) / 2**30:.2f} GiB")
    with Server(data_dir) as server:
        show("start on this store until it accepts", f"{server.start_s:.2f} s", server.start_s <= 2, "≤ 2 s")
        first_wave = known.spans + time.time_ns() // 10**9 % 2**30  # ids that no run before has sent
        sending = Sending(Load("http", server.ports["http"], RATE, 86_400, first_wave, is_endless=True))
        sending.wait_started()
        time.sleep(2)
        before, started_s = server.stored(), time.monotonic()
        _ask_all(_questions(known), server, args.repeats)
        arrived = (server.stored() - before) / (time.monotonic() - started_s)
        sending.stop()
    show("arrived meanwhile", f"{arrived:,.0f} spans/s", arrived >= 0.95 * RATE, f"≥ {RATE:,}")
    return 0


def _show_cost(known: Filled) -> None:
    """What writing a span costs near 1 million, and at the end."""
    if known.spans < 2_000_000:
        show("cost per span written", "asks for ≥ 2,000,000 spans: not compared")
        return
    early = min(known.cost_us, key=lambda cost: abs(cost[0] - 1_000_000))
    late = known.cost_us[-1]
    for spans, cpu_us, wall_us in (early, late):
        show(f"cost per span written at {spans / 1e6:.1f} M", f"CPU {cpu_us:.1f} µs, {wall_us:.1f} µs in all")
    ratio = late[1] / early[1]
    show("cost at the end ÷ cost at 1 M", f"{ratio:.2f}", ratio <= MAX_GROWTH, f"≤ {MAX_GROWTH}")


def _ask_all(questions: Iterable[Question], server: Server, repeats: int) -> None:
    """Every question through both doors; the first answer, which loads code and caches, is left out."""
    link = http.client.HTTPConnection(server.ui.removeprefix("http://"), timeout=30)
    for question in questions:
        api_ms = [_get(link, question.path()) for _ in range(repeats + 1)]
        _show_times(f"API: {question.name}", api_ms[1:])
        store_ms = [_time_ms(question.ask, server.store) for _ in range(repeats + 1)]
        _show_times(f"store: {question.name}", store_ms[1:])


def _get(link: http.client.HTTPConnection, path: str) -> float:
    """Milliseconds of one request, until the answer is read; infinite when it is an error."""
    started_s = time.perf_counter()
    link.request("GET", path)
    response = link.getresponse()
    response.read()
    return (time.perf_counter() - started_s) * 1000 if response.status == 200 else float("inf")


def _time_ms(ask: Callable[[Store], object], store: Store) -> float:
    started_s = time.perf_counter()
    try:
        ask(store)
    except StoreError:  # broken off at its time limit: no answer
        return float("inf")
    return (time.perf_counter() - started_s) * 1000


def _show_times(name: str, times_ms: list[float]) -> None:
    p50, p95, p99 = (percentile(times_ms, share) for share in (0.5, 0.95, 0.99))
    value = f"p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f} ms"
    if failed := times_ms.count(float("inf")):
        value += f" ({failed} failed)"
    show(name, value, p95 <= P95_MS and p99 <= P99_MS, "p95 ≤ 100, p99 ≤ 300")


def _questions(known: Filled) -> list[Question]:
    """Every kind of question that the API and the pages ask."""
    dice = random.Random(1)
    return [*_searches(dice, known), *_summaries(dice, known)]


def _time_range(dice: random.Random) -> TimeRange:
    end_ns = time.time_ns() - dice.randrange(60) * 10**9
    return TimeRange(end_ns - dice.choice(_RANGES_NS), end_ns)


def _path(route: str, time_range: TimeRange, **values: str) -> str:
    return f"/api/v1/{route}?" + urlencode({"start": time_range.start_ns, "end": time_range.end_ns, **values})


def _searches(dice: random.Random, known: Filled) -> Iterable[Question]:
    """Traces by every kind of condition; `values` are the API's parameters, drawn anew for each request."""
    conditions: dict[str, dict[str, Callable[[], str]]] = {
        "latest traces": {},
        "latest of a service": {"service": lambda: dice.choice(SERVICES)},
        "latest of an operation": {"operation": lambda: dice.choice(OPERATIONS["api"])},
        "slowest traces": {"order": lambda: "slowest"},
        "slower than a limit": {"min_duration_ms": lambda: str(dice.choice((20, 50, 100, 200)))},
        "errors": {"status": lambda: "error"},
        "attribute, common value": {"attr": lambda: f"http.request.method={dice.choice(('GET', 'POST'))}"},
        "attribute, rare value": {"attr": lambda: f"user.id={dice.choice(known.user_ids)}"},
        "attribute, absent value": {"attr": lambda: f"user.id=nobody-{dice.randrange(10**6)}"},
    }
    for name, values in conditions.items():
        yield _search(name, values, dice)


def _search(name: str, values: dict[str, Callable[[], str]], dice: random.Random) -> Question:
    def drawn() -> dict[str, str]:
        return {key: draw() for key, draw in values.items()}

    return Question(
        name,
        lambda: _path("traces", _time_range(dice), **drawn()),
        lambda store: store.traces.find(_trace_query(_time_range(dice), drawn())),
    )


def _summaries(dice: random.Random, known: Filled) -> Iterable[Question]:
    """One trace, and what is read from roll-ups."""

    def over_time(route: str) -> Callable[[], str]:
        return lambda: _path(route, _time_range(dice))

    yield Question(
        "trace by id",
        lambda: f"/api/v1/traces/{dice.choice(known.trace_ids)}",
        lambda store: store.traces.get(dice.choice(known.trace_ids)),
    )
    yield Question(
        "services with percentiles", over_time("services"), lambda store: service_red(store, _time_range(dice))
    )
    yield Question(
        "slow queries",
        over_time("queries"),
        lambda store: [query.p95_ns for query in rank_slow_queries(store, _time_range(dice))[:_LISTED_QUERIES]],
    )
    yield Question("service map", over_time("edges"), lambda store: store.traces.edges(EdgeQuery(_time_range(dice))))
    yield Question(
        "one metric over a day",
        lambda: _series_path(_series_query(dice)),
        lambda store: store.metrics.series(_series_query(dice)),
    )


def _series_path(query: MetricSeriesQuery) -> str:
    values = {"step_s": str(query.step_ns // 10**9)} | ({"service": query.service} if query.service else {})
    return _path(f"metrics/{query.name}", query.time_range, **values)


def _trace_query(time_range: TimeRange, values: dict[str, str]) -> TraceQuery:
    """The store's form of the API's parameters."""
    key, _, value = values.get("attr", "").partition("=")
    slower_ms = values.get("min_duration_ms")
    return TraceQuery(
        time_range,
        service=values.get("service"),
        operation=values.get("operation"),
        outcome=Outcome.FAILED if "status" in values else None,
        min_duration_ns=int(slower_ms) * 1_000_000 if slower_ms else None,
        attributes=((key, value),) if key else (),
        order=values.get("order", "newest"),
    )


def _series_query(dice: random.Random) -> MetricSeriesQuery:
    end_ns = time.time_ns()
    name = dice.choice(("process.cpu.utilization", "shop.orders", "http.server.request.duration"))
    service = dice.choice((None, *SERVICES))
    return MetricSeriesQuery(name, TimeRange(end_ns - DAY_NS, end_ns), 300 * 10**9, service)


if __name__ == "__main__":
    sys.exit(main())
