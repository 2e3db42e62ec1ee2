"""OTLP backends that record what they are sent, and misbehave when told to."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from builders import make_batch, make_span

from apm_collector.config_exporters import OtlpExporterConfig, RetryConfig
from apm_store.model import Batch

PROMPT = RetryConfig(initial_interval_s=0.02, max_interval_s=0.1, max_elapsed_s=None)


def make_config(endpoint: str, protocol: str = "http", **changes: Any) -> OtlpExporterConfig:
    """An exporter's configuration that tries again quickly."""
    values: dict[str, Any] = {
        "protocol": protocol,
        "endpoint": endpoint,
        "headers": {},
        "is_compressed": False,
        "timeout_s": 5.0,
        "queue_bytes": 1024 * 1024,
        "is_insecure": protocol == "grpc",
        "retry": PROMPT,
    }
    return OtlpExporterConfig(**(values | changes))


def numbered(number: int) -> Batch:
    """A batch of one span that carries a number."""
    return make_batch([make_span(f"op {number}", trace=number + 1)])


class HttpBackend:
    """An OTLP/HTTP server; `script` holds what to do with the next requests, one function each, before all is well."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.script: list[Callable[[BaseHTTPRequestHandler], None]] = []
        self.arrived = threading.Condition()
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                with backend.arrived:
                    act = backend.script.pop(0) if backend.script else None
                    backend.requests.append((self.path, dict(self.headers)))
                    if act is None:
                        backend.bodies.append(body)
                    backend.arrived.notify_all()
                if act is None:
                    answer(200)(self)
                else:
                    act(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # a client that went away

        self.server = Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def wait_for_bodies(self, count: int, timeout_s: float = 15.0) -> list[bytes]:
        """The bodies that were taken, once there are so many."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.bodies) >= count, timeout_s), len(self.bodies)
            return list(self.bodies)

    def wait_for_requests(self, count: int, timeout_s: float = 15.0) -> None:
        """Return once so many requests came, taken or not."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= count, timeout_s), len(self.requests)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def answer(
    status: int, body: bytes = b"", headers: dict[str, str] | None = None
) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer a request so."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return act


def held(gate: threading.Event) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer a request with 503, but only once the gate is open."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        gate.wait(20)
        answer(503)(handler)

    return act


class GrpcBackend:
    """An OTLP/gRPC server; `script` holds what to do with the next calls, one function each, before all is well."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.metadata: list[dict[str, Any]] = []
        self.script: list[Callable[[grpc.ServicerContext], bytes]] = []
        self.arrived = threading.Condition()
        self.server = grpc.server(ThreadPoolExecutor(2), handlers=(self._handler(),))
        self.endpoint = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def _handler(self) -> grpc.GenericRpcHandler:
        def export(body: bytes, context: grpc.ServicerContext) -> bytes:
            with self.arrived:
                act = self.script.pop(0) if self.script else None
                self.metadata.append(dict(context.invocation_metadata()))
                if act is None:
                    self.bodies.append(body)
                self.arrived.notify_all()
            return b"" if act is None else act(context)

        class Handler(grpc.GenericRpcHandler):
            def service(self, details: Any) -> Any:
                is_export = details.method == "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
                return grpc.unary_unary_rpc_method_handler(export) if is_export else None

        return Handler()

    def wait_for_bodies(self, count: int, timeout_s: float = 15.0) -> list[bytes]:
        """The bodies that were taken, once there are so many."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.bodies) >= count, timeout_s), len(self.bodies)
            return list(self.bodies)

    def close(self) -> None:
        self.server.stop(0).wait()


def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Ask until the answer is true, and give it."""
    deadline_s = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    return found
