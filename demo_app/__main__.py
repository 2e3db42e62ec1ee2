"""Start the whole shop: `python -m demo_app` runs both services, the worker and the load until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from demo_app.load import positive
from demo_app.processes import Process, free_ports, processes
from demo_app.seed import ensure_seeded
from demo_app.service import stop_on_signal

# What someone loads into the processes may have last things to send; the shop itself needs one second at most.
STOP_S = 5.0


def main() -> int:
    """Run all four; 0 when stopped or when the load is over, 1 when a part died."""
    args = _arguments()
    stop = stop_on_signal()
    ensure_seeded(args.data)
    ports = free_ports()
    parts = processes(sys.executable, args.data.absolute(), ports, args.rate, args.duration)
    running = {part.name: _start(part, args.name_variable) for part in parts}
    print(f"storefront: http://127.0.0.1:{ports.storefront}", flush=True)
    try:
        return watch(running, stop)
    finally:
        end(running)


def watch(running: dict[str, subprocess.Popen[bytes]], stop: threading.Event) -> int:
    """Wait for the first that ends, or for `stop`; gives the exit status."""
    while not stop.wait(0.1):
        for name, process in running.items():
            status = process.poll()
            if name == "load" and status == 0:
                return 0
            if status is not None:
                print(f"{name} ended with status {status}; stopping the shop", file=sys.stderr, flush=True)
                return 1
    return 0


def end(running: dict[str, subprocess.Popen[bytes]]) -> None:
    """Stop all that still run, the load first; kill what does not end within five seconds."""
    for process in reversed(running.values()):
        process.terminate()
    deadline = time.monotonic() + STOP_S
    for process in running.values():
        _wait_or_kill(process, deadline)


def _wait_or_kill(process: subprocess.Popen[bytes], deadline: float) -> None:
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _start(part: Process, name_variable: str | None) -> subprocess.Popen[bytes]:
    own_name = {name_variable: part.name} if name_variable else {}
    # A session of its own: Ctrl-C reaches this process alone, which then ends the parts in order.
    return subprocess.Popen(part.argv, env=os.environ | part.env | own_name, cwd=part.cwd, start_new_session=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo_app", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SHOP_DATA", "demo-data")))
    parser.add_argument("--rate", type=positive, default=4.0, help="requests per second (default 4)")
    parser.add_argument("--duration", type=positive, help="seconds of load; without it until Ctrl-C")
    parser.add_argument(
        "--name-variable", metavar="VAR", help="tell each process its own name in this environment variable"
    )
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
