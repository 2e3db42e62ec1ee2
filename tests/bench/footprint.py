"""Prints memory (sum of PSS) and CPU of `spanwise up` under the demo's default load; the shop is not counted."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
from stack import START_TIMEOUT_S, Stack, wait_for

MB = 1e6
LIMIT_MB, LIMIT_CPU_PERCENT = 150, 5


def main() -> int:
    """Warm up, then measure in windows; give 1 when a median is beyond its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warm-up", type=float, default=60, help="seconds before the first window")
    parser.add_argument("--windows", type=int, default=6)
    parser.add_argument("--window", type=float, default=20, help="seconds per window")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        stack = Stack(Path(directory))
        stack.argv[1] = "demo"
        with stack.start():
            parts = wait_for(lambda: _parts(stack.process.pid), START_TIMEOUT_S, "the parts run")
            time.sleep(args.warm_up)
            memory, cpu = zip(*(_window(parts, args.window) for _ in range(args.windows)), strict=True)
            spans = sum(row["count"] for row in stack.api("/api/v1/services")["data"])
            for process in parts:
                print(f"  {_name(process):<12} {process.memory_full_info().pss / MB:6.1f} MB PSS")
    print(f"requests seen: {spans}")
    print(f"memory {_spread(memory)} MB PSS (limit {LIMIT_MB})")
    print(f"cpu    {_spread(cpu)} % of the machine's {psutil.cpu_count()} cores (limit {LIMIT_CPU_PERCENT})")
    return 1 if statistics.median(memory) > LIMIT_MB or statistics.median(cpu) > LIMIT_CPU_PERCENT else 0


def _parts(supervisor_pid: int) -> list[psutil.Process]:
    """Supervisor, collector and UI."""
    supervisor = psutil.Process(supervisor_pid)
    parts = [child for child in supervisor.children() if "spanwise.part" in child.cmdline()]
    return [supervisor, *parts] if len(parts) == 2 else []


def _name(process: psutil.Process) -> str:
    command = process.cmdline()
    return command[command.index("spanwise.part") + 1] if "spanwise.part" in command else "supervisor"


def _window(parts: list[psutil.Process], seconds: float) -> tuple[float, float]:
    """(MB of PSS at the end, CPU percent of the whole machine over the window)."""
    before, started = _cpu_s(parts), time.monotonic()
    time.sleep(seconds)
    share = (_cpu_s(parts) - before) / (time.monotonic() - started) / (psutil.cpu_count() or 1)
    return sum(process.memory_full_info().pss for process in parts) / MB, share * 100


def _cpu_s(parts: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in parts)


def _spread(values: tuple[float, ...]) -> str:
    return f"{statistics.median(values):.1f} (of {len(values)} windows: {min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    sys.exit(main())
