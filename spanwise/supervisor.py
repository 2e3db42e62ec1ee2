"""Runs parts as child processes: starts them in order, restarts one that dies, stops them in reverse order.

A part is told through two pipes, so that nothing polls: the lifeline (supervisor → part) says "go" once the parts
before it are ready, and ends when the supervisor is gone; the ready pipe (part → supervisor) says "ready".
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

READY_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 4.0
MAX_DEATHS = 5  # within DEATHS_WINDOW_S: by then a restart has shown that it does not help
DEATHS_WINDOW_S = 60.0
FD_FLAGS = ("--lifeline-fd", "--ready-fd")


class PartError(Exception):
    """A part did not start, or keeps dying; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Part:
    """One child process. `reports_ready`: it takes FD_FLAGS, waits for "go" and says "ready" when it serves."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    reports_ready: bool = True


class _Child:
    """A running part."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.last_words: deque[str] = deque(maxlen=5)
        lifeline_read, self._lifeline = os.pipe()
        self._ready, ready_write = os.pipe()
        self._pipes = [self._lifeline, self._ready]
        fds = (lifeline_read, ready_write)
        argv = list(part.argv)
        if part.reports_ready:
            argv += [f"{flag}={fd}" for flag, fd in zip(FD_FLAGS, fds, strict=True)]
        self.process = subprocess.Popen(
            argv,
            env=dict(part.env),
            pass_fds=fds if part.reports_ready else (),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops the parts in order
        )
        for fd in fds:
            os.close(fd)
        self._listener = threading.Thread(target=self._listen, name=f"output of {part.name}", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        if self.process.stdout is None:
            return
        for line in self.process.stdout:
            text = line.decode("utf-8", "replace").rstrip()
            self.last_words.append(text)
            print(f"{self.part.name}: {text}", file=sys.stderr, flush=True)

    def go(self) -> None:
        """Let the part serve, or do so as soon as it has loaded."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._lifeline, b"go\n")

    def wait_ready(self, deadline_s: float) -> None:
        """Return when the part says that it serves. Raises PartError when it ends or the deadline passes first."""
        if self.part.reports_ready:
            readable, _, _ = select.select([self._ready], [], [], max(0.0, deadline_s - time.monotonic()))
            if not readable:
                raise PartError(f"{self.part.name} was not ready within {READY_TIMEOUT_S:.0f} s.")
            if os.read(self._ready, 16) != b"ready\n":
                raise PartError(f"{self.part.name} did not start: {self.reason()}")

    def reason(self) -> str:
        """Why the part ended: its last words, else its exit status."""
        self.process.wait()
        self._listener.join(1)
        return next((line for line in reversed(self.last_words) if line), f"exit status {self.process.returncode}")

    def stop(self, timeout_s: float) -> None:
        """End the part: ask, wait, then insist. Idempotent."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._listener.join(1)
        while self._pipes:
            os.close(self._pipes.pop())


class Supervisor:
    """Keeps a list of parts running until it is told to stop."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._children: list[_Child] = []
        self._deaths: dict[str, deque[float]] = {part.name: deque(maxlen=MAX_DEATHS) for part in parts}
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._stop_asked = False

    def start(self) -> None:
        """Start every part; each may load at once but serves only when those before it do.

        Raises PartError after stopping whatever had started.
        """
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask_to_stop)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # a handler, so that a death wakes `run`
        try:
            for part in self._parts:
                self._children.append(_Child(part))
            deadline_s = time.monotonic() + READY_TIMEOUT_S
            for child in self._children:
                child.go()
                child.wait_ready(deadline_s)
        except PartError:
            self.stop()
            raise

    def run(self) -> None:
        """Return when asked to stop. Raises PartError when a part keeps dying."""
        while not self._stop_asked:
            for index, child in enumerate(self._children):
                if child.process.poll() is not None and not self._stop_asked:
                    self._children[index] = self._restart(child)
            if not self._stop_asked:
                select.select([self._wake_read], [], [])
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)

    def stop(self) -> None:
        """Stop all parts, last started first; those that nothing depends on together. Idempotent."""
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        for child in self._children:
            if not child.part.reports_ready:
                child.process.terminate()
        while self._children:
            self._children.pop().stop(max(0.2, deadline_s - time.monotonic()))

    def pids(self) -> dict[str, int]:
        """The process id of each running part."""
        return {child.part.name: child.process.pid for child in self._children}

    def _ask_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        if self._stop_asked:  # a second Ctrl-C is in earnest
            for child in self._children:
                child.process.kill()
        self._stop_asked = True

    def _restart(self, dead: _Child) -> _Child:
        name, now_s = dead.part.name, time.monotonic()
        reason = dead.reason()
        dead.stop(0)
        deaths = self._deaths[name]
        deaths.append(now_s)
        if len(deaths) == MAX_DEATHS and now_s - deaths[0] < DEATHS_WINDOW_S:
            raise PartError(f"{name} died {MAX_DEATHS} times within {DEATHS_WINDOW_S:.0f} s: {reason}")
        print(f"spanwise: {name} died ({reason}); restarting it.", file=sys.stderr, flush=True)
        time.sleep(min(2.0, 0.1 * 2 ** len(deaths)))  # a part that dies at once must not spin
        child = _Child(dead.part)
        child.go()
        return child
