"""Virtual environments that claim to hold something, and a receiver that passes for a running Spanwise."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest

from spanwise.data_dir import Instance, claimed
from spanwise.settings import Settings


@pytest.fixture
def venv(tmp_path: Path) -> Callable[..., Path]:
    """Make a virtual environment that claims to hold `distributions`, and give its Python."""

    def make(*distributions: str, pip: bool = False) -> Path:
        command = [sys.executable, "-m", "venv", *([] if pip else ["--without-pip"]), tmp_path / "venv"]
        subprocess.run(command, check=True)
        (site_packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
        for distribution in distributions:
            name, _, number = distribution.partition("==")
            metadata = site_packages / f"{name.replace('-', '_')}-{number}.dist-info" / "METADATA"
            metadata.parent.mkdir()
            metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n", encoding="utf-8")
        return tmp_path / "venv" / "bin" / "python"

    return make


@dataclass
class Receiver:
    """The ports of something that takes OTLP, the settings by which it is found, and whether spans have come."""

    settings: Settings
    http_port: int = 0
    grpc_port: int = 0
    status: int = 200
    has_spans: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """A receiver of OTLP/HTTP and OTLP/gRPC whose data directory says that it runs."""
    received = Receiver(Settings(tmp_path / "data", tmp_path / "c.yaml", tmp_path / "slos"))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/traces" and body:
                received.has_spans.set()
            self.send_response(received.status)
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            pass

    def export(request: bytes, _context: object) -> bytes:
        if request:
            received.has_spans.set()
        return b""

    pool = ThreadPoolExecutor(2)
    rpc = grpc.server(pool)
    handlers = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    rpc.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    received.grpc_port = rpc.add_insecure_port("127.0.0.1:0")
    rpc.start()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.http_port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    addresses = (f"127.0.0.1:{port}" for port in (9, received.http_port, received.grpc_port))
    with claimed(received.settings.data_dir, Instance(7, *addresses)):
        yield received
    server.shutdown()
    thread.join()
    server.server_close()
    rpc.stop(0).wait()
    pool.shutdown()
