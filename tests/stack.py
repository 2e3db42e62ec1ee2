"""Runs the real `spanwise up` for a test, on free ports and in a directory of its own."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

SPANWISE = Path(sys.executable).parent / "spanwise"
START_TIMEOUT_S = 30.0
_SPARE_PORTS = range(10_000, 32_000)  # the kernel takes higher ones for those who ask for any


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses, and that nobody who asks for any port is given before it is taken."""
    while True:
        port = secrets.choice(_SPARE_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def listens(port: int) -> bool:
    """Whether somebody accepts connections on this port of 127.0.0.1; no byte is sent."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """Ask until the answer is true, and give it; fail with `what` when the time is over."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s} s: {what}")


def fetch(url: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """One HTTP request; give status and body, whatever the status is."""
    request = urllib.request.Request(url, data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


class Stack:
    """A `spanwise up`; as a context manager it is stopped at the end of the block."""

    def __init__(self, data_dir: Path, *flags: str) -> None:
        self.data_dir = data_dir
        self.ui_port, self.http_port, self.grpc_port = free_port(), free_port(), free_port()
        ports = {"--ui-port": self.ui_port, "--otlp-http-port": self.http_port, "--otlp-grpc-port": self.grpc_port}
        self.argv = [str(SPANWISE), "up", "--data", str(data_dir), *flags]
        for flag, port in ports.items():
            self.argv += [flag, str(port)]
        self.ui, self.otlp = f"http://127.0.0.1:{self.ui_port}", f"http://127.0.0.1:{self.http_port}"
        self.process: subprocess.Popen[str]

    def start(self) -> Stack:
        """Start it and wait until it says that it is up."""
        self.process = subprocess.Popen(self.argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        seen = []
        for line in self.process.stdout or ():
            seen.append(line)
            if "Ctrl-C stops" in line:
                return self
        self.stop()
        raise AssertionError("spanwise up ended: " + "".join(seen))

    def stop(self, number: int = signal.SIGTERM) -> str:
        """Stop it, give what it printed since it was up."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=15)
        return rest

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def kill(self) -> None:
        """Kill supervisor, collector and UI at once."""
        for pid in [*self.child_pids(), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate(timeout=15)

    def child_pids(self) -> list[int]:
        """The process ids of collector and UI."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def api(self, path: str) -> Any:
        """GET a JSON answer of the API."""
        status, body = fetch(self.ui + path)
        assert status == 200, (path, status, body[:500])
        return json.loads(body)

    def send(self, signal_name: str, body: bytes, content_type: str = "application/x-protobuf") -> tuple[int, bytes]:
        """POST one OTLP request."""
        return fetch(f"{self.otlp}/v1/{signal_name}", body, {"Content-Type": content_type})
