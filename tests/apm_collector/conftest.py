"""A live collector on free ports, and the two ways of sending to it."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from apm_collector.collector import Collector
from apm_collector.config import CollectorConfig, load_config
from apm_store.api import Store
from apm_store.model import Batch, Signal
from apm_store.query import StoreHealth

LOCAL_CONFIG = Path(__file__).parents[2] / "collector-config" / "local.yaml"
_SERVICES = {"traces": "trace.v1.TraceService", "metrics": "metrics.v1.MetricsService", "logs": "logs.v1.LogsService"}


@dataclass(frozen=True)
class Reply:
    """One HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Live:
    """A started collector and its store."""

    collector: Collector
    store: Store

    def post(self, path: str, body: bytes, headers: Mapping[str, str], method: str = "POST") -> Reply:
        """Send one HTTP request; a Host of `headers` stands in for the real one."""
        endpoint = self.collector.endpoints["otlp/http"]
        connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def send(self, signal: Signal, body: bytes, encoding: str = "protobuf") -> Reply:
        """POST one export request in an encoding."""
        content_type = {"protobuf": "application/x-protobuf", "json": "application/json"}[encoding]
        return self.post(f"/v1/{signal.value}", body, {"Content-Type": content_type})

    def export(
        self, signal: Signal, body: bytes, compression: grpc.Compression = grpc.Compression.NoCompression
    ) -> bytes:
        """Call one gRPC Export with raw bytes; raises grpc.RpcError."""
        with grpc.insecure_channel(str(self.collector.endpoints["otlp/grpc"])) as channel:
            method = f"/opentelemetry.proto.collector.{_SERVICES[signal.value]}/Export"
            return channel.unary_unary(method)(body, timeout=30, compression=compression)


class CurrentStore:
    """Hands on to the store of the test that runs, so that many tests can share one collector."""

    def __init__(self) -> None:
        self.current: Store

    traces = property(lambda self: _Writer(self, "traces"))
    metrics = property(lambda self: _Writer(self, "metrics"))
    logs = property(lambda self: _Writer(self, "logs"))

    def health(self) -> StoreHealth:
        """How the test's store is doing."""
        return self.current.health()


@dataclass(frozen=True)
class _Writer:
    store: CurrentStore
    signal: str

    def write(self, batch: Batch) -> None:
        return getattr(self.store.current, self.signal).write(batch)


def local_config() -> CollectorConfig:
    """The shipped configuration, on free ports."""
    return load_config(LOCAL_CONFIG, {}).listening_on("127.0.0.1", 0, 0)


@pytest.fixture
def config() -> CollectorConfig:
    """The shipped configuration, on free ports."""
    return local_config()


@pytest.fixture(scope="module")
def shared_collector() -> Iterator[tuple[Collector, CurrentStore]]:
    """A collector for all tests of a module."""
    store = CurrentStore()
    collector = Collector(local_config(), store)  # type: ignore[arg-type]  # writing is all it does
    collector.start()
    yield collector, store
    collector.stop()


@pytest.fixture
def shared(shared_collector: tuple[Collector, CurrentStore], store: Store) -> Live:
    """The module's collector, writing to an empty real store; its counts go on from test to test."""
    collector, current = shared_collector
    current.current = store
    return Live(collector, store)


@pytest.fixture
def start(config: CollectorConfig) -> Iterator[Callable[..., Live]]:
    """Start collectors; they are stopped at the end of the test."""
    started: list[Collector] = []

    def start_one(store: Store, config: CollectorConfig = config) -> Live:
        collector = Collector(config, store)
        collector.start()
        started.append(collector)
        return Live(collector, store)

    yield start_one
    for collector in started:
        collector.stop()


@pytest.fixture
def live(start: Callable[..., Live], store: Store) -> Live:
    """A collector that writes to an empty real store."""
    return start(store)
