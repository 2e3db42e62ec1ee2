"""A bare thread for the agent's own work: lazily started, away while the process forks, and never waited for long.

It and its locks are the interpreter's own. gevent puts greenlets and locks for them in the place of `threading`'s, and
one of ours that waits would then stop the whole host; and a host that waits for all of `threading.enumerate()` would
wait for ever. So whatever a background thread shares with the host's is guarded by `_thread.allocate_lock`.
"""

import os
import time
import weakref
from _thread import LockType, allocate_lock, get_ident, get_native_id, start_new_thread
from collections.abc import Callable

from otel_agent.forks import in_children
from otel_agent.guard import guard

# Of the threads that run: what each is called, by its id.
BACKGROUND_THREADS: dict[int, str] = {}
in_children(BACKGROUND_THREADS.clear)

# All that there are. They stand aside last of all that is done before a fork, for some of them may start just then.
_all: "weakref.WeakSet[BackgroundThread]" = weakref.WeakSet()

# How long a fork waits for a thread to stand aside.
_STAND_ASIDE_S = 0.05

# The threads of the SDK's own processors, if a host adds one, have names that begin so.
SDK_THREAD_PREFIX = "Otel"


class BackgroundThread:
    """Calls `step(is_last)` again and again; `step` returns the seconds to wait before its next call.

    It stands aside before a fork when it has nothing in hand: no lock of the agent is then held in the child, and
    Python has no second thread to warn about. `is_needed()` says whether to come back after the fork, on either side.
    """

    def __init__(
        self, name: str, step: Callable[[bool], float], is_needed: Callable[[], bool], first_wait_s: float = 0.0
    ) -> None:
        self._name = name
        self._step = step
        self._is_needed = is_needed
        self._first_wait_s = first_wait_s
        self._forget_thread()
        if hasattr(os, "register_at_fork"):
            _all.add(self)
            myself = weakref.ref(self)
            os.register_at_fork(
                after_in_parent=lambda: _call(myself, BackgroundThread._come_back),
                after_in_child=lambda: _call(myself, BackgroundThread._begin_anew),
            )

    def _forget_thread(self) -> None:
        self.life: LockType | None = None  # held by the thread as long as it runs; None while there is none
        # A bare lock as a semaphore: unlike threading.Event it may be set inside a signal handler or a finalizer.
        self._wake = allocate_lock()
        self._wake.acquire()
        self._is_working = False
        self._is_closing = False
        self._native_id = 0

    def start(self) -> None:
        """Start the thread unless it runs."""
        if self.life is None and not self._is_closing:
            life = allocate_lock()
            life.acquire()
            self.life = life
            try:
                start_new_thread(self._run, (life,))
            except RuntimeError:  # no more threads are to be had, or the interpreter is about to end
                self.life = None

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
        life = self.life
        if life is not None and life.acquire(timeout=timeout_s):
            life.release()

    def _run(self, life: LockType) -> None:
        BACKGROUND_THREADS[get_ident()] = self._name
        self._native_id = get_native_id()
        try:
            self._live(life)
        finally:
            BACKGROUND_THREADS.pop(get_ident(), None)
            life.release()

    def _live(self, life: LockType) -> None:
        wait_s = self._first_wait_s
        while self.life is life and not self._is_closing:
            self._wake.acquire(timeout=wait_s)
            if self.life is not life:
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
        life = self.life
        if life is not None and not self._is_working and not self._is_closing:
            self.life = None
            self.wake()
            if life.acquire(timeout=_STAND_ASIDE_S):
                self._wait_for_system()

    def _wait_for_system(self) -> None:
        """Wait until the system, too, has ended the thread, which is some microseconds later; Linux alone tells."""
        task, end_s = f"/proc/self/task/{self._native_id}", time.monotonic() + _STAND_ASIDE_S
        while os.access(task, os.F_OK) and time.monotonic() < end_s:  # to look gives up the interpreter's lock
            pass

    def _come_back(self) -> None:
        if self.life is None and self._is_needed():
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


def _stand_all_aside() -> None:
    for thread in tuple(_all):
        with guard("keep the agent's threads across a fork"):
            thread._stand_aside()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_stand_all_aside)
