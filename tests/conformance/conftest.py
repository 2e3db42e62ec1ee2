"""A collector on real sockets with a real store, and three ways to speak to it: HTTP, gRPC, bare bytes."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import orjson
import pytest
from google.rpc import status_pb2

from apm_collector.collector import Collector
from apm_collector.config import load_config
from apm_store.api import Store
from apm_store.model import Signal

CONFIG = Path(__file__).parents[2] / "collector-config" / "local.yaml"
TYPES = {"protobuf": "application/x-protobuf", "json": "application/json"}
SERVICES = {"traces": "trace.v1.TraceService", "metrics": "metrics.v1.MetricsService", "logs": "logs.v1.LogsService"}


@dataclass(frozen=True)
class Reply:
    """One HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def rpc_status(self) -> status_pb2.Status:
        """The Status of an error, out of the encoding that the response says it has."""
        if self.headers["content-type"] == TYPES["json"]:
            document = orjson.loads(self.body)
            return status_pb2.Status(code=document["code"], message=document["message"])
        return status_pb2.Status.FromString(self.body)


@dataclass(frozen=True)
class Live:
    """A started collector and its store."""

    collector: Collector
    store: Store

    def request(self, method: str, path: str, body: Any = b"", headers: Mapping[str, str] | None = None) -> Reply:
        """One HTTP request on a connection of its own."""
        endpoint = self.collector.endpoints["otlp/http"]
        connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def post(self, signal: Signal, body: bytes, encoding: str = "protobuf", **headers: str) -> Reply:
        """One export over HTTP; underscores of header names stand for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("POST", f"/v1/{signal.value}", body, {"Content-Type": TYPES[encoding], **named})

    def talk(self, data: bytes) -> bytes:
        """Send bytes to the HTTP port and read until it closes or is silent for a second."""
        endpoint = self.collector.endpoints["otlp/http"]
        answer = b""
        with socket.create_connection((endpoint.host, endpoint.port), timeout=1) as connection:
            connection.sendall(data)
            try:
                while part := connection.recv(65536):
                    answer += part
            except (TimeoutError, ConnectionResetError):
                pass
        return answer

    def call(self, signal: Signal, body: bytes, compression: Any = None, method: str = "") -> bytes:
        """One export over gRPC, with bytes for a message; raises grpc.RpcError."""
        method = method or f"/opentelemetry.proto.collector.{SERVICES[signal.value]}/Export"
        options = [("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(str(self.collector.endpoints["otlp/grpc"]), options=options) as channel:
            return channel.unary_unary(method)(body, timeout=30, compression=compression)

    def stored(self) -> int:
        """How many spans, data points and log records are stored."""
        stats = self.store.stats()
        return stats.spans + stats.data_points + stats.log_records


@pytest.fixture
def start() -> Iterator[Callable[..., Live]]:
    """Start collectors of the shipped configuration on free ports; they are stopped at the end of the test.

    `http` and `grpc` are what to change in the configuration of the two protocols, `more` goes to the Collector.
    """
    started: list[Collector] = []

    def start_one(
        store: Store, http: Mapping[str, Any] | None = None, grpc: Mapping[str, Any] | None = None, **more: Any
    ) -> Live:
        config = load_config(CONFIG, {}).listening_on("127.0.0.1", 0, 0)
        otlp = config.receivers["otlp"]
        assert otlp.http is not None
        assert otlp.grpc is not None
        otlp = replace(otlp, http=replace(otlp.http, **http or {}), grpc=replace(otlp.grpc, **grpc or {}))
        collector = Collector(replace(config, receivers={"otlp": otlp}), store, **more)
        collector.start()
        started.append(collector)
        return Live(collector, store)

    yield start_one
    for collector in started:
        collector.stop()


class _CurrentStore:
    """Hands on to the store of the test that runs, so that the tests of a module share one collector."""

    def __init__(self) -> None:
        self.current: Store

    def __getattr__(self, signal: str) -> Any:
        return SimpleNamespace(write=lambda batch: getattr(self.current, signal).write(batch))


@pytest.fixture(scope="module")
def shared_collector() -> Iterator[tuple[Collector, _CurrentStore]]:
    """A collector for all tests of a module."""
    store = _CurrentStore()
    collector = Collector(load_config(CONFIG, {}).listening_on("127.0.0.1", 0, 0), store)  # type: ignore[arg-type]
    collector.start()
    yield collector, store
    collector.stop()


@pytest.fixture
def live(shared_collector: tuple[Collector, _CurrentStore], store: Store) -> Live:
    """The module's collector, writing to an empty real store."""
    collector, current = shared_collector
    current.current = store
    return Live(collector, store)


@pytest.fixture
def small(start: Callable[..., Live], store: Store) -> Live:
    """A collector that takes requests of at most 1 MiB."""
    limit = {"max_request_bytes": 1024 * 1024}
    return start(store, http=limit, grpc=limit)
