"""Prints memory (sum of PSS) and CPU of `spanwise up` under the demo's default load; the shop is not counted.

Measured twice: after all pages were opened and closed again, and with the Overview open and live.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
from chromium import CHROMIUM_FLAGS, chromium_path
from playwright.sync_api import Page, sync_playwright
from stack import START_TIMEOUT_S, Stack, wait_for

MB = 1e6
LIMIT_MB, LIMIT_CPU_PERCENT = 150, 5


def main() -> int:
    """Warm up, browse, measure in windows; give 1 when a median without an open page is beyond its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warm-up", type=float, default=60, help="seconds before the first window")
    parser.add_argument("--windows", type=int, default=6)
    parser.add_argument("--window", type=float, default=20, help="seconds per window")
    args = parser.parse_args()
    path = chromium_path()
    if path is None:
        print("There is no Chromium, and a stack whose pages nobody opens is smaller: not measured.")
        return 1
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        stack = Stack(Path(directory))
        stack.argv[1] = "demo"
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        with stack.start():
            parts = wait_for(lambda: _parts(stack.process.pid), START_TIMEOUT_S, "the parts run")
            time.sleep(args.warm_up)
            page = browser.new_page()
            _browse(page, stack)
            page.goto("about:blank")
            is_small = _measure("no page open", parts, args.windows, args.window)
            page.goto(stack.ui)
            _measure("Overview open, live", parts, args.windows, args.window)
            status = stack.api("/healthz")
            browser.close()
    print(f"stored: {status['spans']:,} spans, {status['log_records']:,} log records, {status['data_points']:,} points")
    return 0 if is_small else 1


def _browse(page: Page, stack: Stack) -> None:
    """Open every page once, a trace included."""
    trace_id = stack.api("/api/v1/traces?limit=1")["data"][0]["trace_id"]
    for address in ("/", "/traces", f"/traces/{trace_id}", "/queries", "/slos", "/"):
        page.goto(stack.ui + address)
        page.wait_for_load_state("networkidle")


def _measure(name: str, parts: list[psutil.Process], windows: int, window_s: float) -> bool:
    """Print medians and spread over the windows; whether both are within their limits."""
    memory, cpu = zip(*(_window(parts, window_s) for _ in range(windows)), strict=True)
    shares = ", ".join(f"{_name(process)} {process.memory_full_info().pss / MB:.1f}" for process in parts)
    print(f"{name}:")
    print(f"  memory {_spread(memory)} MB PSS, limit {LIMIT_MB} ({shares})")
    print(
        f"  cpu    {_spread(cpu)} % of the machine's {psutil.cpu_count()} cores, limit {LIMIT_CPU_PERCENT}", flush=True
    )
    return statistics.median(memory) <= LIMIT_MB and statistics.median(cpu) <= LIMIT_CPU_PERCENT


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
