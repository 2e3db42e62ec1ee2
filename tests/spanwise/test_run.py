"""`spanwise up` as its user meets it: it starts whole or not at all, survives a dead part, and stops in time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from stack import Stack, fetch, wait_for


def _refused(argv: list[str]) -> str:
    """Run a command that must end with status 1 and one line; give the line."""
    result = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 1, result.stdout + result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert not result.stdout
    return result.stderr


@pytest.mark.parametrize(
    ("flag", "attribute"),
    [("--ui-port", "ui_port"), ("--otlp-http-port", "http_port"), ("--otlp-grpc-port", "grpc_port")],
)
def test_a_busy_port_is_named_with_its_flag(tmp_path: Path, flag: str, attribute: str) -> None:
    """A port that somebody else holds ends the start in one line that names it and the cure."""
    stack = Stack(tmp_path)
    port = getattr(stack, attribute)
    with socket.create_server(("127.0.0.1", port)):
        line = _refused(stack.argv)

    assert f"127.0.0.1:{port}" in line
    assert flag in line
    assert not (tmp_path / "spanwise.db").exists()


def test_a_second_instance_on_the_same_data_is_refused(tmp_path: Path) -> None:
    """The second one names the first one's pid and leaves it alone."""
    with Stack(tmp_path).start() as first:
        line = _refused(Stack(tmp_path).argv)

        assert f"pid {first.process.pid}" in line
        assert fetch(first.ui + "/healthz")[0] == 200


def test_a_bad_config_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """An unknown key ends the start in one line that names it; no database is made."""
    config = tmp_path / "config.yaml"
    config.write_text("receivers:\n  otlp:\n    protocols:\n      http:\n        endpiont: 127.0.0.1:4318\n")

    line = _refused([*Stack(tmp_path / "data").argv, "--config", str(config)])

    assert "endpiont" in line
    assert not (tmp_path / "data").exists()


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file where the directory should be ends the start in one line."""
    (tmp_path / "file").write_text("")

    assert str(tmp_path / "file") in _refused(Stack(tmp_path / "file").argv)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_five_seconds_and_frees_its_ports(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C end all processes with status 0, and the ports can be taken at once."""
    stack = Stack(tmp_path).start()
    children = stack.child_pids()
    before = time.monotonic()

    stack.stop(number)

    assert time.monotonic() - before <= 5
    assert stack.process.returncode == 0
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    Stack(tmp_path).start().stop()


def test_a_part_that_dies_is_restarted(tmp_path: Path) -> None:
    """Killing collector and UI costs a moment: both answer again, under new pids."""
    with Stack(tmp_path).start() as stack:
        before = stack.child_pids()
        for pid in before:
            os.kill(pid, signal.SIGKILL)

        wait_for(lambda: len(stack.child_pids()) == 2 and not set(before) & set(stack.child_pids()), 10, "new parts")
        for url in (stack.ui, stack.otlp):
            wait_for(lambda url=url: _answers(url), 10, f"{url} answers")


def _answers(url: str) -> bool:
    try:
        return fetch(url + "/healthz")[0] == 200
    except OSError:
        return False


def test_a_part_that_keeps_dying_ends_the_group_with_its_reason(tmp_path: Path) -> None:
    """When the collector cannot stay up, everything ends with status 1 and says why."""
    stack = Stack(tmp_path).start()
    deadline = time.monotonic() + 60
    while stack.process.poll() is None and time.monotonic() < deadline:
        for pid in stack.child_pids():
            if b"\0collector\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    rest = stack.stop()

    assert stack.process.returncode == 1
    assert "collector died 5 times" in rest
    assert not _answers(stack.ui)


def test_no_part_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    """Collector and UI end by themselves when the supervisor is gone without a word."""
    stack = Stack(tmp_path).start()
    children = stack.child_pids()
    stack.process.kill()
    stack.process.communicate()

    wait_for(lambda: not [pid for pid in children if _runs(pid)], 6, "the parts have ended")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_the_data_is_for_its_owner_alone(tmp_path: Path) -> None:
    """The directory is 0700 and its files 0600, whatever the umask says."""
    with Stack(tmp_path / "data").start():
        files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
        modes = {path.name: path.stat().st_mode & 0o777 for path in files}

    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert modes
    assert set(modes.values()) == {0o600}, modes
