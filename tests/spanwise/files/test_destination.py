"""A batch reaches the collector over HTTP, and each answer means what OTLP says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from builders import make_batch, make_request, make_span
from google.rpc.status_pb2 import Status
from stack import Stack, free_port, wait_for

from apm_collector.errors import PermanentError, TransientError
from apm_collector.file_formats.write_otlp_json import to_json_line
from spanwise.data_dir import LOCK_NAME
from spanwise.files.destination import CollectorSender, deliver, open_destination
from spanwise.files.store_access import CommandError, writing
from spanwise.settings import load_settings

BATCH = make_batch([make_span("GET /")])


class Backend(HTTPServer):
    """Answers each request with the next of its answers, the last one for good."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, dict[str, str], bytes]] = [(200, {}, b"")]
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Backend

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers), body))
        answers = self.server.answers
        status, headers, answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(answer))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def backend() -> Iterator[Backend]:
    """A real HTTP server on a free port."""
    with Backend() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_batch_is_posted_as_it_is(backend: Backend) -> None:
    """Path, content type, token and body are those of OTLP over HTTP."""
    sender = CollectorSender(backend.address, "secret")

    sender.consume(BATCH)

    sender.close()
    path, headers, body = backend.requests[0]
    assert (path, body) == ("/v1/traces", BATCH.body)
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers["Authorization"] == "Bearer secret"


def test_a_refusal_is_for_good_and_has_the_collectors_words(backend: Backend) -> None:
    """4xx is not tried again."""
    backend.answers = [(413, {}, Status(message="too much").SerializeToString())]
    sender = CollectorSender(backend.address)

    with pytest.raises(PermanentError, match="too much"):
        deliver(sender, BATCH)

    sender.close()
    assert len(backend.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_collector_is_asked_again(status: int, backend: Backend) -> None:
    """A hint to wait is followed until the data is taken."""
    backend.answers = [(status, {"Retry-After": "0"}, b""), (200, {}, b"")]
    sender = CollectorSender(backend.address)

    deliver(sender, BATCH)

    sender.close()
    assert len(backend.requests) == 2


def test_patience_ends(backend: Backend) -> None:
    """A collector that stays busy ends the import with its words."""
    backend.answers = [(503, {"Retry-After": "7"}, Status(message="disk full").SerializeToString())]
    sender = CollectorSender(backend.address)

    with pytest.raises(CommandError, match="disk full"):
        deliver(sender, BATCH, patience_s=5)

    sender.close()


def test_nobody_there_may_come_back() -> None:
    """A refused connection is tried again later, like any restart."""
    sender = CollectorSender(f"127.0.0.1:{free_port()}")

    with pytest.raises(TransientError, match="no answer"):
        sender.consume(BATCH)


def test_a_store_that_somebody_writes_to_is_not_opened_twice(tmp_path: Path) -> None:
    """Two imports at once, or an import beside a start, do not meet in one store."""
    settings = load_settings({"data_dir": str(tmp_path / "data")}, {})

    with writing(settings), pytest.raises(CommandError, match="already uses"), open_destination(settings):
        pass

    assert (settings.data_dir / LOCK_NAME).read_bytes() == b""


def test_while_spanwise_runs_its_collector_stores_and_redacts(
    spanwise: Callable[..., Any], data_dir: Path, tmp_path: Path
) -> None:
    """An import beside a running stack goes through its collector, and an export beside it reads what was stored."""
    span = make_span("GET /", attributes={"http.request.header.authorization": "Bearer abcdefghijklmnop0123456789"})
    file = tmp_path / "spans.jsonl"
    file.write_bytes(to_json_line(make_request([span], service="corner-shop")))

    with Stack(data_dir).start() as stack:
        imported = spanwise("import", file)
        exported = wait_for(lambda: (one := spanwise("export")).status == 0 and one, 5, "the span can be exported")

    assert imported.status == 0, imported
    assert f"To: the collector at 127.0.0.1:{stack.http_port}" in imported.out
    assert "corner-shop" in exported.out
    assert "abcdefghijklmnop0123456789" not in exported.out


def test_where_nothing_runs_the_pipeline_redacts_too(
    spanwise: Callable[..., Any], data_dir: Path, tmp_path: Path
) -> None:
    """A secret in a file does not reach the store by the direct way either."""
    span = make_span("GET /", attributes={"http.request.header.authorization": "Bearer abcdefghijklmnop0123456789"})
    file = tmp_path / "spans.jsonl"
    file.write_bytes(to_json_line(make_request([span])))

    imported, exported = spanwise("import", file), spanwise("export")

    assert (imported.status, exported.status) == (0, 0)
    assert f"To: {data_dir}" in imported.out
    assert "http.request.header.authorization" in exported.out
    assert "abcdefghijklmnop0123456789" not in exported.out


def test_a_configuration_that_cannot_be_used_is_said(
    spanwise: Callable[..., Any], data_dir: Path, tmp_path: Path
) -> None:
    """Without a pipeline nothing is stored: it could not be redacted."""
    config, file = tmp_path / "bad.yaml", tmp_path / "spans.jsonl"
    config.write_text("receivers: 7\n")
    file.write_bytes(to_json_line(make_request([make_span("GET /")])))

    outcome = spanwise("import", file, "--config", config)

    assert outcome.status == 1
    assert "bad.yaml" in outcome.err
    assert spanwise("export").status == 1
