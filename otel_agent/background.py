"""A daemon thread for the agent's own work: lazily started, away while the process forks, and never waited for long."""

import os
import threading
import weakref
from _thread import allocate_lock
from collections.abc import Callable

from opentelemetry.context import Context, attach, detach

from otel_agent.guard import guard

# Every SDK and agent thread carries this prefix, by which the logging instrumentation tells them from the host's.
_PREFIX = "Otel"


class BackgroundThread:
    """Calls `step(is_last)` again and again; `step` returns the seconds to wait before its next call.

    It stands aside before a fork when it has nothing in hand: no lock of the agent is then held in the child, and
    Python has no second thread to warn about. `is_needed()` says whether to come back after the fork, on either side.
    """

    def __init__(
        self, name: str, step: Callable[[bool], float], is_needed: Callable[[], bool], first_wait_s: float = 0.0
    ) -> None:
        self._name = _PREFIX + name
        self._step = step
        self._is_needed = is_needed
        self._first_wait_s = first_wait_s
        self._forget_thread()
        if hasattr(os, "register_at_fork"):
            myself = weakref.ref(self)
            os.register_at_fork(
                before=lambda: _call(myself, BackgroundThread._stand_aside),
                after_in_parent=lambda: _call(myself, BackgroundThread._come_back),
                after_in_child=lambda: _call(myself, BackgroundThread._begin_anew),
            )

    def _forget_thread(self) -> None:
        self._thread: threading.Thread | None = None
        # A bare lock as a semaphore: unlike threading.Event it may be set inside a signal handler or a finalizer.
        self._wake = allocate_lock()
        self._wake.acquire()
        self._is_working = False
        self._is_closing = False

    def start(self) -> None:
        """Start the thread unless it runs."""
        if self._thread is None and not self._is_closing:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread = thread
            token = attach(Context())  # the threading instrumentation would keep the host's current span in it for ever
            try:
                thread.start()
            except RuntimeError:  # no more threads are to be had, or the interpreter is about to end
                self._thread = None
            finally:
                detach(token)

    def wake(self) -> None:
        """Make the thread call `step` now; it may be called anywhere, and costs next to nothing."""
        if self._wake.locked():
            try:
                self._wake.release()
            except RuntimeError:  # another thread was quicker
                return

    def begin_end(self) -> None:
        """Let the thread call `step(True)` and end; nothing starts it again."""
        if self._is_needed():
            self.start()
        self._is_closing = True
        self.wake()

    def join(self, timeout_s: float) -> None:
        """Wait for the end that has begun, `timeout_s` at most."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _run(self) -> None:
        myself = threading.current_thread()
        wait_s = self._first_wait_s
        while self._thread is myself and not self._is_closing:
            self._wake.acquire(timeout=wait_s)
            if self._thread is not myself:
                return
            wait_s = self._work(self._is_closing)
        if self._is_closing:
            self._work(True)

    def _work(self, is_last: bool) -> float:
        wait_s = 1.0
        self._is_working = True
        with guard(f"do the work of {self._name}"):
            wait_s = self._step(is_last)
        self._is_working = False
        return wait_s

    def _stand_aside(self) -> None:
        thread = self._thread
        if thread is not None and not self._is_working and not self._is_closing:
            self._thread = None
            self.wake()
            thread.join(0.05)

    def _come_back(self) -> None:
        if self._thread is None and self._is_needed():
            self._wake.acquire(blocking=False)
            self.start()

    def _begin_anew(self) -> None:
        self._forget_thread()
        if self._is_needed():
            self.start()


def _call(reference: "weakref.ref[BackgroundThread]", method: Callable[[BackgroundThread], None]) -> None:
    with guard("keep the agent's threads across a fork"):
        target = reference()
        if target is not None:
            method(target)
