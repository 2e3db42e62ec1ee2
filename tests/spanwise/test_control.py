"""Asking the running collector."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from spanwise.access import new_control_token
from spanwise.control import ControlError, ask_collector, fetch_json
from spanwise.data_dir import Instance


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers as it is told and keeps what it was sent."""

    answer: ClassVar[tuple[int, bytes]] = (200, b"{}")
    seen: ClassVar[list[tuple[str, str, dict[str, str], bytes]]] = []

    def do_GET(self) -> None:
        """Answer a question without a body."""
        self.do_POST()

    def do_POST(self) -> None:
        """Answer as told."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen.append((self.command, self.path, dict(self.headers), body))
        self.send_response(self.answer[0])
        self.end_headers()
        self.wfile.write(self.answer[1])

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def instance() -> Iterator[Instance]:
    """An instance whose collector is the handler above."""
    server = http.server.HTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    _Handler.seen.clear()
    address = f"127.0.0.1:{server.server_port}"
    yield Instance(1, address, address, address)
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_command_carries_the_control_token_and_gives_the_answer(instance: Instance, tmp_path: Path) -> None:
    """The token goes in a header, the question in the body, and neither into the address."""
    token = new_control_token(tmp_path)
    _Handler.answer = (200, b'{"pruned": null}')

    answer = ask_collector(instance, tmp_path, "prune", {"to_bytes": 5})

    method, path, headers, body = _Handler.seen[0]
    assert (method, path, json.loads(body), answer) == ("POST", "/control/prune", {"to_bytes": 5}, {"pruned": None})
    assert {name.lower(): value for name, value in headers.items()}["x-spanwise-control"] == token


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((503, b'{"error": "the disk is gone"}'), "the disk is gone"),
        ((401, b"<html>"), "HTTP 401"),
        ((400, b"[1]"), "HTTP 400"),
        ((200, b"<html>"), "does not answer"),
    ],
)
def test_a_refusal_is_an_error_with_its_words(
    instance: Instance, tmp_path: Path, answer: tuple[int, bytes], message: str
) -> None:
    """What the collector says, or its status, reaches the caller."""
    _Handler.answer = answer

    with pytest.raises(ControlError, match=message):
        ask_collector(instance, tmp_path, "prune", {"to_bytes": 5})


def test_a_collector_that_is_gone_is_named(tmp_path: Path) -> None:
    """A closed port is an error that names the address, and "down" where the state is asked for."""
    gone = Instance(1, "127.0.0.1:9", "127.0.0.1:9", "127.0.0.1:9")

    with pytest.raises(ControlError, match=r"127\.0\.0\.1:9 does not answer"):
        ask_collector(gone, tmp_path, "prune", {"to_bytes": 5})
    assert fetch_json("http://127.0.0.1:9/healthz")["status"] == "down"


def test_the_port_token_is_sent_when_there_is_one(instance: Instance, tmp_path: Path) -> None:
    """Commands read it from the data directory; without a file nothing is sent."""
    _Handler.answer = (200, b"{}")
    fetch_json(f"http://{instance.ui}/healthz", tmp_path)
    (tmp_path / "token").write_text("secret\n")
    fetch_json(f"http://{instance.ui}/healthz", tmp_path)

    assert [headers.get("Authorization") for _, _, headers, _ in _Handler.seen] == [None, "Bearer secret"]
