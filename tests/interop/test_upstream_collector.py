"""A real upstream Collector in front: what applications send to it arrives in our store, whole."""

from __future__ import annotations

import http.client
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from builders import make_request, make_span
from interop.otelcol import BINARY, missing
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from stack import free_port, listens

from apm_collector.collector import Collector
from apm_collector.config import load_config
from apm_store.api import Store
from apm_store.model import Signal
from apm_store.query import LogQuery, MetricQuery, StoreStats, TimeRange

CONFIGS = Path(__file__).parents[2] / "collector-config"
UPSTREAM = sorted(path.name for path in CONFIGS.glob("upstream*.yaml"))
SERVICES = {
    Signal.TRACES: "trace.v1.TraceService",
    Signal.METRICS: "metrics.v1.MetricsService",
    Signal.LOGS: "logs.v1.LogsService",
}
ALL_TIME = TimeRange(0, 2**63 - 1)
BASE_NS = 1_790_000_000_000_000_000
SPANS, POINTS, RECORDS = 1_500, 300, 300
pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "it is there")


@pytest.mark.parametrize("name", UPSTREAM)
def test_upstream_itself_finds_the_configuration_valid(name: str) -> None:
    """Its `validate` command has nothing to say."""
    command = [str(BINARY), "validate", "--config", str(CONFIGS / name)]

    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")


@dataclass(frozen=True)
class Chain:
    """An upstream Collector that exports to ours, and our store."""

    http_port: int
    grpc_port: int
    store: Store

    def send(self, signal: Signal, body: bytes, way: str) -> None:
        """Export to the upstream Collector."""
        if way == "grpc":
            with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
                method = f"/opentelemetry.proto.collector.{SERVICES[signal]}/Export"
                channel.unary_unary(method)(body, timeout=30)
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=30)
        connection.request("POST", f"/v1/{signal.value}", body, {"Content-Type": "application/x-protobuf"})
        assert connection.getresponse().status == 200
        connection.close()

    def wait_for(self, items: int) -> StoreStats:
        """The store's statistics once it holds so many items, at the latest after 30 s."""
        deadline = time.monotonic() + 30
        while True:
            stats = self.store.stats()
            if stats.spans + stats.data_points + stats.log_records >= items or time.monotonic() > deadline:
                return stats
            time.sleep(0.1)


def _wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        if listens(port):
            return
        time.sleep(0.05)
    raise AssertionError("the upstream Collector does not listen")


@pytest.fixture(params=UPSTREAM)
def chain(request: pytest.FixtureRequest, store: Store, tmp_path: Path) -> Iterator[Chain]:
    """An upstream Collector with one of the configurations, and ours behind it."""
    collector = Collector(load_config(CONFIGS / "local.yaml", {}).listening_on("127.0.0.1", 0, 0), store)
    collector.start()
    http_port, grpc_port = free_port(), free_port()
    env = {
        **os.environ,
        "UPSTREAM_HTTP_ENDPOINT": f"127.0.0.1:{http_port}",
        "UPSTREAM_GRPC_ENDPOINT": f"127.0.0.1:{grpc_port}",
        "SPANWISE_HTTP_URL": f"http://{collector.endpoints['otlp/http']}",
        "SPANWISE_GRPC_ENDPOINT": str(collector.endpoints["otlp/grpc"]),
    }
    with (tmp_path / "otelcol.log").open("wb") as log:
        process = subprocess.Popen([str(BINARY), "--config", str(CONFIGS / request.param)], env=env, stderr=log)
        try:
            _wait_until_open(http_port, process)
            _wait_until_open(grpc_port, process)
            yield Chain(http_port, grpc_port, store)
        finally:
            process.terminate()
            process.wait(30)
            collector.stop()


def _bodies() -> dict[Signal, list[bytes]]:
    """Requests of all signals, in parts."""
    spans = [
        make_span(f"op {n}", trace=n % 50 + 1, span=n + 1, start_ns=BASE_NS + n, attributes={"n": n, "text": "ä" * 9})
        for n in range(SPANS)
    ]
    metrics = ExportMetricsServiceRequest()
    points = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="through.upstream", unit="s")
    for n in range(POINTS):
        points.gauge.data_points.add(as_int=n, time_unix_nano=BASE_NS + n)
    logs = ExportLogsServiceRequest()
    records = logs.resource_logs.add().scope_logs.add().log_records
    for n in range(RECORDS):
        records.add(time_unix_nano=BASE_NS + n, severity_number=9).body.string_value = f"line {n}"
    return {
        Signal.TRACES: [make_request(spans[n : n + 100]).SerializeToString() for n in range(0, SPANS, 100)],
        Signal.METRICS: [metrics.SerializeToString()],
        Signal.LOGS: [logs.SerializeToString()],
    }


@pytest.mark.parametrize("way", ["http", "grpc"])
def test_everything_arrives(way: str, chain: Chain) -> None:
    """Traces, metrics and logs, through its receiver, its batches and its exporter."""
    for signal, bodies in _bodies().items():
        for body in bodies:
            chain.send(signal, body, way)

    stats = chain.wait_for(SPANS + POINTS + RECORDS)

    assert (stats.spans, stats.data_points, stats.log_records) == (SPANS, POINTS, RECORDS)
    names = {span.name for n in range(50) for span in chain.store.traces.get((n + 1).to_bytes(16, "big").hex())}
    assert names == {f"op {n}" for n in range(SPANS)}
    (metric,) = chain.store.metrics.find(MetricQuery("through.upstream", ALL_TIME)).metrics
    assert sorted(point.value or 0 for point in metric.points) == list(range(POINTS))
    logs = chain.store.logs.find(LogQuery(ALL_TIME, limit=RECORDS))
    assert {record.body for record in logs} == {f"line {n}" for n in range(RECORDS)}
