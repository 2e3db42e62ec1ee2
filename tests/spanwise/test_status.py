"""`spanwise status`, of a running stack, of one that does not run, and of no store at all."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from builders import make_batch, make_request, make_span
from stack import Stack, fetch, wait_for

from apm_store.open import open_store
from spanwise.data_dir import Instance
from spanwise.settings import Settings
from spanwise.status import _lines, _store_lines, collect_status, print_status, printable, read_health

VALID, INVALID = make_span("op"), make_span("bad", span=0)
NOTHING: dict[str, Any] = {"rejected": {}, "dropped": {}, "refused": {}, "refused_requests": {}, "pending": 0}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings on a data directory that is not there yet."""
    return Settings(tmp_path / "data", tmp_path / "c.yaml", tmp_path / "slos")


def test_a_running_stack_tells_counts_and_store_in_one_json(tmp_path: Path, capsys) -> None:
    """What was sent is found as received, accepted and rejected, and in the store, with sums that hold."""
    settings = Settings(tmp_path, tmp_path / "c.yaml", tmp_path / "slos")
    with Stack(tmp_path).start() as stack:
        stack.send("traces", make_request([VALID, INVALID]).SerializeToString())
        stack.send("traces", b"<html>")
        wait_for(lambda: read_health(tmp_path)["stored"]["traces"] == 1, 5, "the span is stored")
        code = print_status(settings, as_json=True)
        status = json.loads(capsys.readouterr().out)
        print_status(settings, as_json=False)
        words = capsys.readouterr().out
        metrics = fetch(stack.otlp + "/metrics")

    traces, health = status["collector"]["counts"]["traces"], status["store"]
    assert code == 0
    assert (traces["received"], traces["accepted"], sum(traces["rejected"].values())) == (2, 1, 1)
    assert traces["refused_requests"] == {"undecodable": 1}
    assert health["accepted"]["traces"] == health["stored"]["traces"] == 1
    assert status["collector"]["commit_p99_ms"] >= status["collector"]["commit_p50_ms"] > 0
    assert re.search(r"commits take \d+\.\d ms \(p99 \d+\.\d ms\)", words)
    assert "commit_p50_ms" not in health
    assert "2 spans = 1 accepted + 1 rejected" in words
    assert "1 request refused (undecodable 1)" in words
    assert metrics[0] == 200
    assert b'spanwise_collector_items_received_total{signal="traces"} 2\n' in metrics[1]


def test_a_store_at_rest_is_still_read(settings: Settings, capsys) -> None:
    """When nothing runs the store's counts and size are told, and the status says that nothing runs."""
    store = open_store(settings.data_dir)
    store.traces.write(make_batch([VALID]))
    store.close()

    code = print_status(settings, as_json=False)

    words = capsys.readouterr().out
    assert code == 1
    assert words.startswith(f"Nothing runs on {settings.data_dir}")
    assert "1 spans = 1 stored + 0 duplicates + 0 waiting" in words
    assert "commit times unknown (no collector answers)" in words


@pytest.mark.parametrize("exists", [False, True], ids=["no directory", "empty directory"])
def test_without_a_store_the_reason_is_told(settings: Settings, exists: bool) -> None:
    """A data directory that was never used is no error, and is not made by asking."""
    if exists:
        settings.data_dir.mkdir()

    status = collect_status(settings)

    assert (status["running"], status["store"]["status"]) == (False, "down")
    assert str(settings.data_dir) in status["store"]["reason"]
    assert list(settings.data_dir.iterdir()) == [] if exists else not settings.data_dir.exists()


@pytest.mark.parametrize(
    ("collector", "words"),
    [
        ({"status": "down", "reason": "refused"}, "commit times unknown (no collector answers)"),
        ({"queue_bytes": 0, "commit_p50_ms": None, "commit_p99_ms": None}, "no commits measured yet"),
        ({"queue_bytes": 0, "commit_p50_ms": 2.0, "commit_p99_ms": 9.0}, "commits take 2.0 ms (p99 9.0 ms), 0 prunes"),
        ({"queue_bytes": 5_000_000, "commit_p50_ms": 2.0, "commit_p99_ms": 9.0}, "9.0 ms), 5.0 MB in the queue, 0"),
    ],
)
def test_commit_times_are_the_collectors(collector: dict[str, Any], words: str) -> None:
    """They come from the process that writes; where it says nothing they are unknown, never 0."""
    health = {"bytes_on_disk": 1, "budget_bytes": 2, "disk_free_bytes": 3, "accepted": {}, "index_lag_s": 0.0}

    lines = _store_lines({"status": "ok", "prunes": (), "notices": ()} | health, collector)

    assert words in "\n".join(lines)


def test_every_outcome_has_its_place_in_the_sum() -> None:
    """All outcomes and reasons stand in one line per signal; parts that are 0 are left out."""
    traces = {
        "received": 30,
        "accepted": 12,
        "rejected": {"trace_id": 3},
        "dropped": {"filter: health": 4},
        "refused": {"disk_full": 10},
        "refused_requests": {"disk_full": 2},
        "pending": 1,
    }
    collector = {
        "status": "ok",
        "started_ns": time.time_ns(),
        "rss_bytes": 61_000_000,
        "config": {"checkpoint": 7, "refused": "line 14: unknown key"},
        "counts": {"traces": traces, "logs": {"received": 5, "accepted": 5} | NOTHING},
    }
    instance = Instance(1, "127.0.0.1:5000", "127.0.0.1:4318", "127.0.0.1:4317")
    status = {
        "running": True,
        "data_dir": "/d",
        "instance": {name: getattr(instance, name) for name in Instance.__slots__},
        "collector": collector,
        "ui": {"status": "down", "reason": "refused"},
        "store": {"status": "down", "reason": "gone"},
        "services": [],
    }

    words = "\n".join(_lines(status))

    sums = (
        "12 accepted + 3 rejected (trace_id 3) + 4 dropped (filter: health 4) + 10 refused (disk_full 10) + 1 pending"
    )
    assert f"traces   30 spans = {sums}; 2 requests refused (disk_full 2)" in words
    assert "logs     5 log records = 5 accepted\n" in words
    assert "ok, 61.0 MB of memory" in words
    assert "configuration checkpoint 7\n  configuration file not in use: line 14: unknown key" in words
    assert "down (refused)" in words
    assert "The store cannot be read: gone" in words


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("shop\x1b[31m red", "shop\\x1b[31m red"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("prüfung 5 %", "prüfung 5 %"),
    ],
)
def test_names_from_outside_cannot_steer_the_terminal(line: str, shown: str) -> None:
    """Escape sequences, line ends and marks that turn text around are written out."""
    assert printable(line) == shown
