"""Prints what each feature of the agent costs the host: µs of CPU per operation with it and without it.

Two processes under the agent, one with the feature switched off by its name, do the same operation in turns. Only the
thread that does it is measured; of the ratios of neighbouring turns the median and the middle half are printed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Many short turns: what else the machine does then falls on both sides of a pair.
REPEATS = 61
TURN_S = 0.02
REDIS_PORT = "BENCH_REDIS_PORT"

Operation = Callable[[], object]


def code_location() -> Operation:
    """Start and end the span of a statement, 20 frames of a library below the host's code."""
    from opentelemetry import trace
    from opentelemetry.trace import SpanKind

    tracer = trace.get_tracer("bench")
    namespace: dict[str, Callable[[int, Operation], object]] = {}
    source = "def call(n, f):\n    return f() if n == 0 else call(n - 1, f)"
    exec(compile(source, "/venv/lib/python3/site-packages/library.py", "exec"), namespace)
    call = namespace["call"]
    return lambda: call(20, lambda: tracer.start_span("SELECT items", kind=SpanKind.CLIENT).end())


def lru_cache() -> Operation:
    """Call a cached function."""
    import functools

    @functools.lru_cache
    def cached(number: int) -> int:
        return number

    return lambda: cached(1)


def cachetools() -> Operation:
    """Look something up in an LRUCache, within a span."""
    from cachetools import LRUCache

    cache = LRUCache(10)
    cache["a"] = 1
    return _in_span(lambda: cache["a"])


def django_cache() -> Operation:
    """Look something up in Django's cache in memory, within a span."""
    from django.conf import settings

    settings.configure(CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}})
    from django.core.cache import cache

    cache.set("a", 1)
    return _in_span(lambda: cache.get("a"))


def flask_caching() -> Operation:
    """Look something up in a SimpleCache, within a span."""
    from flask import Flask
    from flask_caching import Cache

    app = Flask("bench")
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    app.app_context().push()
    cache.set("a", 1)
    return _in_span(lambda: cache.get("a"))


def redis_cache() -> Operation:
    """GET from a Redis server."""
    import redis

    client = redis.Redis(port=int(os.environ[REDIS_PORT]))
    client.set("a", "1")
    return lambda: client.get("a")


def redis_pool() -> Operation:
    """GET from a Redis server over a blocking pool."""
    import redis

    pool = redis.BlockingConnectionPool(port=int(os.environ[REDIS_PORT]))
    client = redis.Redis(connection_pool=pool)
    return lambda: client.get("a")


def sqlalchemy_pool() -> Operation:
    """Take a connection of a pool and give it back."""
    from sqlalchemy import create_engine, pool

    engine = create_engine("sqlite://", poolclass=pool.QueuePool)
    return lambda: engine.raw_connection().close()


def gc_metrics() -> Operation:
    """Collect the youngest generation of garbage."""
    import gc

    return lambda: gc.collect(0)


def process_metrics() -> Operation:
    """Read all process metrics once, as happens every 2 s."""
    return _reading("process_metrics")


def machine_metrics() -> Operation:
    """Read all process metrics once, as happens every 2 s, with those of the machine or without them."""
    return _reading("machine_metrics")


FEATURES = {
    feature.__name__: feature
    for feature in (
        code_location,
        lru_cache,
        cachetools,
        django_cache,
        flask_caching,
        redis_cache,
        redis_pool,
        sqlalchemy_pool,
        gc_metrics,
        process_metrics,
        machine_metrics,
    )
}


def _in_span(operation: Operation) -> Operation:
    from opentelemetry import context, trace

    span = trace.get_tracer("bench").start_span("request")
    context.attach(trace.set_span_in_context(span))
    return operation


def _reading(name: str) -> Operation:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from otel_agent.process_metrics import observe_process

    reader = InMemoryMetricReader()
    is_off = name in os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "")
    observe_process(MeterProvider([reader]).get_meter("bench"), frozenset({name}) if is_off else frozenset())
    return reader.get_metrics_data


@dataclass(frozen=True)
class Cost:
    """µs of CPU per operation without and with a feature, and the ratios of neighbouring turns."""

    without_us: float
    with_us: float
    ratios: list[float]

    def __str__(self) -> str:
        """Return a line of the table."""
        low, ratio, high = statistics.quantiles(self.ratios, n=4)
        difference = self.with_us - self.without_us
        return f"{self.without_us:9.2f} {self.with_us:9.2f} {difference:+9.2f} {ratio:7.3f}  {low:.3f}–{high:.3f}"


def measure(feature: str, repeats: int = REPEATS) -> Cost:
    """Measure one of FEATURES."""
    with _worker(feature, is_off=True) as without, _worker(feature, is_off=False) as with_feature:
        count = max(1, round(TURN_S / min(without(20) or 1e-7 for _ in range(3))))
        pairs = [(without(count), with_feature(count)) for _ in range(repeats + 1)][1:]
    medians = [statistics.median(values) * 1e6 for values in zip(*pairs, strict=True)]
    return Cost(*medians, [b / a for a, b in pairs])


@contextmanager
def _worker(feature: str, is_off: bool) -> Iterator[Callable[[int], float]]:
    """Start a process under the agent; yield a function that does `count` operations and gives seconds for each."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANWISE_"))}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "otel_agent" / "bootstrap"), str(ROOT)]),
        "OTEL_SERVICE_NAME": "bench",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",  # nobody listens: metrics are kept as for a collector
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": feature if is_off else "",
    }
    process = subprocess.Popen(
        [sys.executable, __file__, "--worker", feature],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdin and process.stdout
    stdin, stdout = process.stdin, process.stdout

    def run(count: int) -> float:
        stdin.write(f"{count}\n")
        stdin.flush()
        return float(stdout.readline())

    yield run
    process.communicate()


def _work(feature: str) -> None:
    from otel_agent.boot import boot

    boot()
    operation = FEATURES[feature]()
    for line in sys.stdin:
        count = int(line)
        start_s = time.thread_time()
        for _ in range(count):
            operation()
        print((time.thread_time() - start_s) / count, flush=True)


@contextmanager
def _redis() -> Iterator[bool]:
    """Run a Redis server; yield whether there is one."""
    program = shutil.which("redis-server")
    if program is None:
        yield False
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--port", port, "--save", "", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        os.environ[REDIS_PORT] = port
        time.sleep(0.5)
        yield True
        server.terminate()
        server.wait()


def main() -> None:
    """Measure all features, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", nargs="*", help=f"of {', '.join(FEATURES)}")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        _work(args.worker)
        return
    print(f"{'feature':16}   without      with   µs more   ratio  middle half")
    with _redis() as has_redis:
        for feature in args.features or FEATURES:
            if feature.startswith("redis") and not has_redis:
                print(f"{feature:16} not measured: redis-server is not installed")
            else:
                print(f"{feature:16} {measure(feature, args.repeats)}", flush=True)


if __name__ == "__main__":
    main()
