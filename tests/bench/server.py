"""A real stack under measurement: the collector's CPU and memory, what the store counts, and what lies on disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil
from stack import START_TIMEOUT_S, Stack, wait_for

from apm_store.api import Store, StoreError
from apm_store.open import open_store

_POLL_S = 0.1


class Server:
    """A `spanwise up` on free ports with its own data directory; `store` reads what it stored. Ends with the block."""

    def __init__(self, data_dir: Path) -> None:
        self._stack = Stack(data_dir)
        self.ui = self._stack.ui
        self.ports = {"http": self._stack.http_port, "json": self._stack.http_port, "grpc": self._stack.grpc_port}
        self._data_dir = data_dir

    def __enter__(self) -> Server:
        started_s = time.monotonic()
        self._stack.start()
        self.start_s = time.monotonic() - started_s
        self.collector: psutil.Process = wait_for(self._find_collector, START_TIMEOUT_S, "the collector runs")
        self.store: Store = open_store(self._data_dir, read_only=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()
        self._stack.stop()

    def cpu_s(self) -> float:
        """User and system time of the collector process since its start."""
        return float(sum(self.collector.cpu_times()[:2]))

    def peak_mib(self) -> float:
        """The most memory that the collector ever had resident (VmHWM)."""
        lines = Path(f"/proc/{self.collector.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    def stored(self) -> int:
        """How many spans are searchable, duplicates not counted."""
        return int(self.store.health().stored["traces"])

    def wait_stored(self, spans: int, timeout_s: float) -> bool:
        """Wait until so many spans are searchable; whether that came to be."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if self.stored() >= spans:
                return True
            time.sleep(_POLL_S)
        return False

    def has_trace(self, trace_id: str) -> bool:
        """Whether a reader finds this trace now."""
        try:
            return bool(self.store.traces.get(trace_id))
        except StoreError:  # it did not answer in time: not found yet
            return False

    def _find_collector(self) -> Any:
        children = psutil.Process(self._stack.process.pid).children()
        return next((child for child in children if "collector" in child.cmdline()), None)


def bytes_on_disk(data_dir: Path) -> int:
    """The size of all files below a directory."""
    return sum(path.stat().st_size for path in data_dir.rglob("*") if path.is_file())
