"""SIGTERM where nobody handles it: the last spans are sent before the process dies of it as it would have."""

import os
import signal
import threading
from contextlib import suppress
from types import FrameType

from otel_agent import boot
from otel_agent.background import BackgroundThread
from otel_agent.forks import in_children
from otel_agent.guard import guard

_LOOK_S = 0.25

_is_dying = False


def start() -> None:
    """Handle SIGTERM in hosts that leave it alone; whoever sets a handler of their own replaces this one."""
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _die)


def _die(number: int, _frame: FrameType | None) -> None:
    global _is_dying  # noqa: PLW0603 - a process dies once
    if _is_dying:
        return
    _is_dying = True
    if boot.is_started:
        with guard("send what is left"):
            from otel_agent.flush import flush

            flush()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    signal.signal(number, _die)  # the first process of a container does not die of it
    _is_dying = False


class _Arrivals:
    """Sees to it that Python handles the SIGTERM that has arrived, in processes that are usually ended by one.

    It does so in the main thread alone, and that may have begun to wait for a lock of multiprocessing a moment before:
    a worker of a pool, which without us would be dead, would wait for ever, and its parent for it. The signal, sent to
    that very thread once more, makes it look.
    """

    def __init__(self) -> None:
        self._pipe: tuple[int, int] | None = None
        self._thread = BackgroundThread("Termination", self._look, lambda: self._pipe is not None, _LOOK_S)
        in_children(self._forget)

    def watch(self) -> None:
        """Begin, in the main thread, unless SIGTERM or the descriptor that tells of signals is somebody else's."""
        if self._pipe is not None or signal.getsignal(signal.SIGTERM) is not _die:
            return
        pipe = os.pipe()
        os.set_blocking(pipe[0], False)
        os.set_blocking(pipe[1], False)
        before = signal.set_wakeup_fd(pipe[1], warn_on_full_buffer=False)
        if before != -1:
            signal.set_wakeup_fd(before)
            self._close(pipe)
            return
        self._pipe = pipe
        self._thread.start()

    def _look(self, _is_last: bool) -> float:
        arrived = b""
        if self._pipe is not None:
            with suppress(OSError):  # nothing has
                arrived = os.read(self._pipe[0], 4096)
        main = threading.main_thread().ident
        if signal.SIGTERM in arrived and not _is_dying and signal.getsignal(signal.SIGTERM) is _die and main:
            signal.pthread_kill(main, signal.SIGTERM)
        return _LOOK_S

    def _forget(self) -> None:
        """Leave the pipe to the parent, as a forked child must: its signals are none of the parent's."""
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            with suppress(ValueError):  # not in the main thread: then it is not ours either
                other = signal.set_wakeup_fd(-1)
                if other != pipe[1]:
                    signal.set_wakeup_fd(other)
            self._close(pipe)

    @staticmethod
    def _close(pipe: tuple[int, int]) -> None:
        for end in pipe:
            with suppress(OSError):
                os.close(end)


arrivals = _Arrivals()
