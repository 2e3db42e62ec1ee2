"""A real stack under measurement: the collector's CPU and memory, what the store counts, and what lies on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
from stack import START_TIMEOUT_S, Stack, wait_for

from apm_store.api import Store, StoreError
from apm_store.open import open_store

_POLL_S = 0.1
_Measured = TypeVar("_Measured")


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
        """User and system time of the collector and of the processes that index for it, since its start."""
        times = [self.collector.cpu_times(), *self._of_helpers(psutil.Process.cpu_times)]
        return float(sum(sum(one[:4]) for one in times))  # user and system, then those of children that have ended

    def peak_mib(self) -> float:
        """The most memory that the collector and the process that indexes for it ever had resident (VmHWM), summed.

        Their peaks need not have been at the same time; a process that has ended before is not counted.
        """
        return _peak_mib(self.collector) + sum(self._of_helpers(_peak_mib))

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

    def _of_helpers(self, measure: Callable[[psutil.Process], _Measured]) -> list[_Measured]:
        """A figure of each process that the collector has started; those that end meanwhile are left out."""
        figures = []
        for child in self.collector.children():
            with suppress(psutil.NoSuchProcess, FileNotFoundError, StopIteration):
                figures.append(measure(child))
        return figures

    def _find_collector(self) -> Any:
        children = psutil.Process(self._stack.process.pid).children()
        return next((child for child in children if "collector" in child.cmdline()), None)


def _peak_mib(process: psutil.Process) -> float:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def bytes_on_disk(data_dir: Path) -> int:
    """The size of all files below a directory."""
    return sum(path.stat().st_size for path in data_dir.rglob("*") if path.is_file())
