"""Kills all processes of the stack at once, again and again under load, and prints what was lost: it must be nothing.

A wrong build that acknowledges before the commit must be caught by the same rig. Gives 1 when either fails.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.fill import DAY_NS
from bench.report import percentile, show
from bench.server import bytes_on_disk
from crash.judge import Verdict, judge_apart
from crash.load import Ledger, Senders
from stack import Stack, wait_for

START_S = 2.0
BIG_BYTES = 2**30
EARLY_ACK = Path(__file__).with_name("early_ack.py")
_CONTROL_ROUNDS = 4
_START_TIMEOUT_S = 30.0


def main() -> int:
    """Run the rig on the product and on the wrong build, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    big = Path(tempfile.gettempdir()) / "spanwise-bench-query" / "data"
    parser.add_argument("--big", type=Path, default=big, help="a data directory of 1 GiB or more, to start on")
    args = parser.parse_args()
    outcome = Rounds(random.Random(args.seed)).run(args.rounds)
    _show_outcome(outcome)
    control = Rounds(random.Random(args.seed), is_wrong=True).run(_CONTROL_ROUNDS)
    lost = control.last.lost
    show("control: spans lost by the wrong build", f"{lost:,} of {control.last.acknowledged:,}", lost > 0, "> 0")
    _show_big_start(args.big)
    return 0 if not outcome.bad and lost else 1


@dataclass
class Outcome:
    """What the rounds showed; `bad` are the verdicts that found something."""

    moments: Counter[str] = field(default_factory=Counter)
    start_s: list[float] = field(default_factory=list)
    bad: list[Verdict] = field(default_factory=list)
    judged: int = 0
    last: Verdict = field(default_factory=Verdict)


class Rounds:
    """Start, load, kill at a random moment, judge, on one and the same data directory.

    Only every second crash is judged before the next start, for the judge recovers the store as the product would:
    so half of the starts are on what the kill left.
    """

    def __init__(self, dice: random.Random, *, is_wrong: bool = False) -> None:
        self._dice = dice
        self._is_wrong = is_wrong
        self._outcome = Outcome()

    def run(self, rounds: int) -> Outcome:
        """Run so many rounds, then judge once more."""
        with tempfile.TemporaryDirectory(prefix="spanwise-kill-") as directory:
            self._data_dir, ledger_dir = Path(directory) / "data", Path(directory) / "ledger"
            self._stack = Stack(self._data_dir)
            if self._is_wrong:
                self._stack.argv[:1] = [sys.executable, str(EARLY_ACK)]
            self._ledger = Ledger(ledger_dir)
            self._senders = Senders(self._stack, self._ledger)
            self._senders.start()
            try:
                for number in range(rounds):
                    self._crash(number)
                    if number % 2 or number == rounds - 1:
                        self._judge(ledger_dir)
            finally:
                self._senders.stop()
                kill(self._stack)
            return self._outcome

    def _judge(self, ledger_dir: Path) -> None:
        verdict = judge_apart(self._data_dir, ledger_dir)
        self._outcome.judged += 1
        self._outcome.last = verdict
        if not verdict.is_good:
            self._outcome.bad.append(verdict)
            if not self._is_wrong:
                print(f"  after {sum(self._outcome.moments.values())} kills: {verdict}", flush=True)

    def _crash(self, number: int) -> None:
        moments: dict[str, Callable[[], None]] = {
            "steady": lambda: time.sleep(self._dice.uniform(0.2, 1.5)),
            "commit": self._await_commit,
            "checkpoint": self._await_checkpoint,
            "new day": self._await_new_day,
        }
        name = self._dice.choice(["start-up", *moments]) if number else "steady"
        self._outcome.moments[name] += 1
        if name == "start-up":
            launch(self._stack)
            time.sleep(self._dice.uniform(0.05, 1.2))
        else:
            self._outcome.start_s.append(start_accepting(self._stack))
            moments[name]()
        kill(self._stack)

    def _await_commit(self) -> None:
        """Return within a few ms after an acknowledgement."""
        time.sleep(self._dice.uniform(0.1, 0.6))
        before = self._ledger.count
        with suppress(AssertionError):
            wait_for(lambda: self._ledger.count > before, 3.0, "an acknowledgement")
        time.sleep(self._dice.uniform(0, 0.005))

    def _await_checkpoint(self) -> None:
        time.sleep(self._dice.uniform(0.1, 0.3))
        await_checkpoint(self._data_dir)

    def _await_new_day(self) -> None:
        """Send spans of another day, and return shortly after."""
        time.sleep(self._dice.uniform(0.1, 0.3))
        self._senders.age_ns = self._dice.randrange(6) * DAY_NS
        time.sleep(self._dice.uniform(0.02, 0.6))


def await_checkpoint(data_dir: Path) -> None:
    """Return when a database file itself is written, which in WAL mode a checkpoint does; after 3 s at most."""
    before, deadline_s = _written(data_dir), time.monotonic() + 3
    while _written(data_dir) == before and time.monotonic() < deadline_s:
        time.sleep(0.001)


def _written(data_dir: Path) -> list[tuple[str, int]]:
    """When each database file was last written; one that vanishes meanwhile is left out."""
    times = []
    for path in sorted(data_dir.rglob("*.db")):
        with suppress(FileNotFoundError):
            times.append((path.name, path.stat().st_mtime_ns))
    return times


def launch(stack: Stack) -> None:
    """Start the stack without waiting for it."""
    stack.process = subprocess.Popen(stack.argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def start_accepting(stack: Stack) -> float:
    """Start the stack; give the seconds until it acknowledges a request."""
    started_s = time.monotonic()
    launch(stack)

    def accepts() -> bool:
        if stack.process.poll() is not None:
            raise AssertionError(f"spanwise up ended: {stack.process.communicate()[0]}")
        with suppress(OSError):
            return stack.send("traces", b"")[0] == 200
        return False

    wait_for(accepts, _START_TIMEOUT_S, "the stack accepts")
    return time.monotonic() - started_s


def processes(stack: Stack) -> list[int]:
    """All processes of the stack, the supervisor stopped first so that it starts no more."""
    os.kill(stack.process.pid, signal.SIGSTOP)
    return [stack.process.pid, *stack.child_pids()]


def kill(stack: Stack) -> None:
    """Kill all processes of the stack at once, and wait until they are gone; nothing to do when it has ended."""
    if stack.process.poll() is not None:
        return
    pids = processes(stack)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    stack.process.communicate(timeout=15)  # ends when the last of them has let go of the pipe
    # A killed process keeps its files open until its last thread is dead, which may hang in a write for a while.
    wait_for(lambda: all(task_states(pid) <= {"Z", "X"} for pid in pids), 15, "the killed processes are gone")


def task_states(pid: int) -> set[str]:
    """The states of all threads of a process; empty when it is gone."""
    states = set()
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            states.add(path.read_text().rpartition(")")[2].split()[0])
    return states


def _show_outcome(outcome: Outcome) -> None:
    last = outcome.last
    moments = ", ".join(f"{count} {name}" for name, count in sorted(outcome.moments.items()))
    show("kills", f"{sum(outcome.moments.values())} ({moments})")
    show("spans acknowledged, stored", f"{last.acknowledged:,}, {last.stored:,}")
    lost = max((verdict.lost for verdict in [last, *outcome.bad]), default=0)
    show("acknowledged spans lost", f"{lost:,}", lost == 0, "0")
    show("judgements without any finding", f"{outcome.judged - len(outcome.bad)} of {outcome.judged}", not outcome.bad)
    slowest, middle = max(outcome.start_s), percentile(outcome.start_s, 0.5)
    show("start until it accepts, median and slowest", f"{middle:.2f} s, {slowest:.2f} s", slowest <= START_S, "≤ 2 s")


def _show_big_start(data_dir: Path) -> None:
    """How long the start takes on a large store, once closed in order and once killed."""
    name = "start on a store of 1 GiB or more"
    if not data_dir.is_dir() or bytes_on_disk(data_dir) < BIG_BYTES:
        show(name, f"skipped: {data_dir} is not there or smaller; `make bench-query` leaves one")
        return
    stack = Stack(data_dir)
    for state in ("closed", "killed"):
        seconds = start_accepting(stack)
        time.sleep(1)
        kill(stack)
        show(f"{name}, {state} before", f"{seconds:.2f} s", seconds <= START_S, "≤ 2 s")


if __name__ == "__main__":
    sys.exit(main())
