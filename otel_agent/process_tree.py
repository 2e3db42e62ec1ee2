"""Which process of a tree of instrumented processes speaks for the machine: the eldest, and when it dies another one.

All processes of a tree inherit its number in the environment. The one that speaks holds a lock on the byte of that
number in a file that all trees share. The kernel gives such a lock to one process alone, not to its forked children,
and takes it back from a dead process however it died.
"""

import os

from otel_agent.settings import process_tree, temporary_directory

try:
    from fcntl import LOCK_EX, LOCK_NB, lockf
except ImportError:  # Windows
    lockf = None  # type: ignore[assignment]


class MachineDuty:
    """Whether this process is to report the machine's own figures."""

    def __init__(self) -> None:
        self._tree, is_founder = process_tree()
        self._founder_pid = os.getpid() if is_founder else 0
        self._holder_pid = 0
        self.is_ours()  # before there are children who might ask first

    def is_ours(self) -> bool:
        """Tell whether this process has the duty, and take it when nobody has it."""
        pid = os.getpid()
        if self._holder_pid != pid and self._take():
            self._holder_pid = pid
        return self._holder_pid == pid

    def _take(self) -> bool:
        if lockf is None:
            return self._founder_pid == os.getpid()
        path = temporary_directory() / f"spanwise-{os.getuid()}.lock"
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                lockf(file, LOCK_EX | LOCK_NB, 1, self._tree)
            except OSError:
                os.close(file)
                raise
        except BlockingIOError:
            return False
        except OSError:  # nowhere to write or no locks there: the duty stays with the founder, and ends with it
            return self._founder_pid == os.getpid()
        return True  # closing the file would give the lock back
