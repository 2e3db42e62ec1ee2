"""SIGTERM where nobody handles it: the last spans are sent before the process dies of it as it would have."""

import signal
import threading
from types import FrameType

from otel_agent import boot
from otel_agent.guard import guard


def start() -> None:
    """Handle SIGTERM in hosts that leave it alone; whoever sets a handler of their own replaces this one."""
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _die)


def _die(number: int, _frame: FrameType | None) -> None:
    if boot.is_started:
        with guard("send what is left"):
            from otel_agent.flush import flush

            flush()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    signal.signal(number, _die)  # the first process of a container does not die of it
