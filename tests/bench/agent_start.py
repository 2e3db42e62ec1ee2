"""Prints what the agent costs a process before its first line and in all, with and without it in turn.

The hosts are an empty script and one that makes a Flask application; nobody listens where they send to.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.report import show_most

BOOTSTRAP = Path(__file__).parents[2] / "otel_agent" / "bootstrap"
MOST_FIRST_LINE_S, MOST_START_S = 0.15, 0.5
HOSTS = {
    "empty script": ("", MOST_FIRST_LINE_S),
    "Flask application": ("from flask import Flask\nFlask('bench')\n", MOST_START_S),
}
_FIRST_LINE = "import time; first_line_s = time.process_time()\n"


def main() -> int:
    """Measure each host and print it; give 1 when a median misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="pairs of processes, with and without the agent")
    repeats = parser.parse_args().repeats
    held = []
    with tempfile.TemporaryDirectory() as directory:
        for name, (script, most_s) in HOSTS.items():
            path = Path(directory, "host.py")
            path.write_text(f"{_FIRST_LINE}{script}print(first_line_s)\n", encoding="utf-8")
            pairs = [(_run(path, False), _run(path, True)) for _ in range(repeats + 1)][1:]  # the first fills caches
            for what, i in (("CPU before the first line", 0), ("CPU in all, its end included", 1)):
                added_s = [traced[i] - plain[i] for plain, traced in pairs]
                held.append(show_most(f"{name}: added {what}", added_s, most_s, ".3f", " s"))
    return 0 if all(held) else 1


def _run(script: Path, is_traced: bool) -> tuple[float, float]:
    """Run the script; give the CPU seconds until its first line, and those of the whole process."""
    steering = ("OTEL_", "PYTHON", "SPANWISE_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    if is_traced:
        environment |= {"PYTHONPATH": str(BOOTSTRAP), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, str(script)]
    done = subprocess.run(command, cwd=script.parent, env=environment, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.stderr:
        raise RuntimeError(f"the host said: {done.stderr[:500]}")
    return float(done.stdout), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
