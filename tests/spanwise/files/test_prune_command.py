"""`spanwise prune`: asks before it removes, says what it removed, and goes through the collector that runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from builders import SECOND, make_batch, make_span

from apm_store.open import open_store
from spanwise.data_dir import Instance, claimed

Run = Callable[..., Any]
ENTRY = {
    "time_ns": 5,
    "reason": "request",
    "first_ns": 1_700_000_000 * SECOND,
    "last_ns": 1_700_000_900 * SECOND,
    "spans": 1200,
    "log_records": 1,
    "data_points": 0,
    "freed_bytes": 5_000_000,
    "kept_traces": 3,
}


class Control(HTTPServer):
    """Stands for the control route of a running collector."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, Any]] = []
        self.answer: tuple[int, Any] = (200, {"pruned": ENTRY})


class _Handler(BaseHTTPRequestHandler):
    server: Control

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, json.loads(body)))
        status, answer = self.server.answer
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def control(data_dir: Path) -> Iterator[Control]:
    """A running instance on the data directory whose collector answers as the test says."""
    with Control() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        address = f"127.0.0.1:{server.server_port}"
        with claimed(data_dir, Instance(1, "127.0.0.1:1", address, "127.0.0.1:2")):
            yield server
        server.shutdown()
        thread.join()


def test_the_running_collector_is_asked(control: Control, spanwise: Run) -> None:
    """The store's one writer does it; what it removed, and what stays, is said."""
    outcome = spanwise("prune", "--to", "2GB", "--yes")

    assert outcome.status == 0, outcome.err
    assert control.asked == [("/control/prune", {"to_bytes": 2_000_000_000})]
    assert "Removed 1,200 spans, 0 data points, 1 log record, from 2023-11-1" in outcome.out
    assert "5.0 MB are free again.\nKept 3 traces" in outcome.out
    assert "roll-ups of that time stay" in outcome.out


def test_a_moment_is_asked_for_in_nanoseconds(control: Control, spanwise: Run) -> None:
    """`--before` is a moment; an answer of nothing is no failure."""
    control.answer = (200, {"pruned": None})

    outcome = spanwise("prune", "--before", "2026-11-01T12:30:00Z", "--yes")

    assert (outcome.status, outcome.out) == (0, "There was nothing to remove.\n")
    assert control.asked[0][1] == {"before_ns": 1_793_536_200 * SECOND}


def test_the_collectors_words_are_handed_on(control: Control, spanwise: Run) -> None:
    """A refusal is one line and status 1."""
    control.answer = (503, {"error": "The disk is gone."})

    outcome = spanwise("prune", "--older-than", "7d", "--yes")

    assert outcome.status == 1
    assert "The disk is gone." in outcome.err


def test_nothing_is_removed_without_a_yes(control: Control, spanwise: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal it asks for --yes, and the collector hears nothing."""
    with Path("/dev/null").open() as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        outcome = spanwise("prune", "--older-than", "7d")

    assert outcome.status == 1
    assert "add --yes" in outcome.err
    assert control.asked == []


def test_where_nothing_runs_the_store_is_pruned_itself(spanwise: Run, data_dir: Path) -> None:
    """What was received before the moment is gone, whatever times its spans have; status 0."""
    store = open_store(data_dir)
    store.traces.write(make_batch([make_span("old")]))
    store.close()
    before = spanwise("prune", "--before", "2020-01-01", "--yes")

    outcome = spanwise("prune", "--before", datetime.now(timezone.utc).isoformat(), "--yes")

    store = open_store(data_dir)
    left = store.traces.get("1".zfill(32))
    store.close()
    assert (before.status, before.out) == (0, "There was nothing to remove.\n")
    assert outcome.status == 0, outcome.err
    assert "Removed 1 span" in outcome.out
    assert left == []


def test_no_data_directory_is_made_for_it(spanwise: Run, tmp_path: Path) -> None:
    """A wrong --data is said."""
    outcome = spanwise("prune", "--to", "1GB", "--yes", data=tmp_path / "none")

    assert outcome.status == 1
    assert "There is no data directory" in outcome.err
    assert not (tmp_path / "none").exists()
