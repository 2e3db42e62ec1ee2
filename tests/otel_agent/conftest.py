"""A real, tiny OTLP/HTTP receiver, and real host processes that know nothing of it but the environment."""

import gzip
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from stack import free_port, listens, wait_for

BOOTSTRAP = Path(__file__).parents[2] / "otel_agent" / "bootstrap"


def plain(value: Any) -> Any:
    """Turn an OTLP AnyValue into the Python value it stands for."""
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


def attributes_of(item: Any) -> dict[str, Any]:
    """Return the attributes of a span, log record, resource or data point as a dict."""
    return {attribute.key: plain(attribute.value) for attribute in item.attributes}


@dataclass
class Sink:
    """What has arrived so far, flat: (resource attributes, scope name, protobuf item)."""

    port: int = 0
    spans: list[tuple[dict[str, Any], str, Any]] = field(default_factory=list)
    metrics: list[tuple[dict[str, Any], str, Any]] = field(default_factory=list)
    logs: list[tuple[dict[str, Any], str, Any]] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self, path: str, body: bytes) -> None:
        """Parse one export request and keep its items."""
        with self.arrived:
            if path == "/v1/traces":
                for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in group.scope_spans:
                        self.spans += [(attributes_of(group.resource), scope.scope.name, span) for span in scope.spans]
            elif path == "/v1/metrics":
                for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    for scope in group.scope_metrics:
                        self.metrics += [(attributes_of(group.resource), scope.scope.name, m) for m in scope.metrics]
            else:
                for group in ExportLogsServiceRequest.FromString(body).resource_logs:
                    for scope in group.scope_logs:
                        self.logs += [(attributes_of(group.resource), scope.scope.name, r) for r in scope.log_records]
            self.arrived.notify_all()

    def wait_for(self, predicate: Callable[[], object], timeout_s: float = 10) -> bool:
        """Wait until the predicate holds; return whether it does."""
        with self.arrived:
            return bool(self.arrived.wait_for(predicate, timeout_s))

    def attributes_of(self, item: Any) -> dict[str, Any]:
        """Return the attributes of a span, log record or data point as a dict."""
        return attributes_of(item)

    def span_names(self) -> list[str]:
        return [span.name for _, _, span in self.spans]

    def spans_named(self, name: str) -> list[Any]:
        return [span for _, _, span in self.spans if span.name == name]

    def metric_names(self) -> set[str]:
        return {metric.name for _, _, metric in self.metrics}


@contextmanager
def _receiving(port: int = 0) -> Iterator[Sink]:
    received = Sink()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.take(self.path, gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128  # workers that end together connect together

    server = Server(("127.0.0.1", port), Handler)
    received.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield received
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def sink() -> Iterator[Sink]:
    """Yield a running OTLP/HTTP receiver."""
    with _receiving() as received:
        yield received


@pytest.fixture(scope="session")
def session_sink() -> Iterator[Sink]:
    """Yield a receiver for what runs as long as the test session."""
    with _receiving() as received:
        yield received


@pytest.fixture
def late_sink() -> Iterator[Callable[[int], Sink]]:
    """Return a function that starts a receiver on a given port, for a collector that comes late or again."""
    with ExitStack() as receivers:
        yield lambda port: receivers.enter_context(_receiving(port))


@dataclass
class Outcome:
    """How a host process ended: exit code, both outputs, and when (Unix seconds)."""

    code: int
    out: str
    err: str
    ended_s: float


@pytest.fixture
def clean_environment() -> dict[str, str]:
    """Return this environment without anything that steers Python or OpenTelemetry."""
    steering = ("OTEL_", "PYTHON", "SPANWISE_", "COV_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    return environment | {"PYTHONPATH": str(BOOTSTRAP), "OTEL_SERVICE_NAME": "host"}


@pytest.fixture
def run_host(tmp_path: Path, clean_environment: dict[str, str]) -> Callable[..., Outcome]:
    """Return a function that runs a script in a process of its own; `agent=False` runs it without the agent."""

    def run(script: str, agent: bool = True, **variables: str) -> Outcome:
        (tmp_path / "host.py").write_text(script, encoding="utf-8")
        environment = clean_environment | variables
        if not agent:
            del environment["PYTHONPATH"]
        done = subprocess.run(
            [sys.executable, "host.py"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr, time.time())

    return run


@pytest.fixture
def black_hole() -> Iterator[int]:
    """Yield the port of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield server.getsockname()[1]


@pytest.fixture
def dead_port() -> int:
    """Return a port on which nobody listens."""
    return free_port()


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Yield the port of a Redis server of this session."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        wait_for(lambda: listens(port), 10, "Redis listens")
        yield port
        server.terminate()


@pytest.fixture
def lookups(sink: Sink) -> Callable[[], dict[tuple[str, ...], tuple[int, int]]]:
    """Return a function that tells the last (hits, misses) by system, operation and, where there is one, name."""

    def read() -> dict[tuple[str, ...], tuple[int, int]]:
        counts: dict[tuple[str, ...], dict[str, int]] = {}
        for _, _, metric in sink.metrics:
            if metric.name in {"cache.hit", "cache.miss"}:
                for point in metric.sum.data_points:
                    attributes = sink.attributes_of(point)
                    key = tuple(
                        attributes[f"cache.{part}"]
                        for part in ("system", "operation", "name")
                        if f"cache.{part}" in attributes
                    )
                    counts.setdefault(key, {})[metric.name] = point.as_int
        return {key: (count["cache.hit"], count["cache.miss"]) for key, count in counts.items()}

    return read
