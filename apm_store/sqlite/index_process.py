"""The other process that indexes under load, as the process sees it that answers: `follow_log.py` is what runs there.

The log is all that the two share, and how far it may be read; so whichever of them dies, nothing is lost.
"""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from apm_store.api import StoreError
from apm_store.query import Retention
from apm_store.sqlite.body_indexer import Position
from apm_store.sqlite.edges import EdgePairing

_STOP_TIMEOUT_S = 30.0


class Handover(NamedTuple):
    """What a process needs to go on where another one stopped; `until` is the last body that it may read."""

    data_dir: Path
    retention: Retention
    edges: EdgePairing
    until: Position


class News(NamedTuple):
    """How far the other process has come, and whether the segment that is written must end, so as to be dropped."""

    committed: Position
    is_segment_wanted: bool


class IndexProcess:
    """A running process that indexes a data directory, of which nobody else may write the databases meanwhile.

    Raises StoreError when it cannot be started.
    """

    def __init__(self, handover: Handover) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "apm_store.sqlite.follow_log", str(theirs.fileno())]
        with theirs:
            try:
                self._process = subprocess.Popen(command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL)  # noqa: S603 – our own
            except OSError as error:
                ours.close()
                raise StoreError(f"no process could be started for the index: {error.strerror}") from error
        self._link = Connection(ours.detach())
        self._told = handover.until
        try:
            self._send(handover)
        except StoreError:
            self.close()
            raise

    def index(self, until: Position) -> None:
        """Have the log indexed up to a body; raises StoreError when the process has died."""
        if until > self._told:
            self._send(until)
            self._told = until

    def news(self, timeout_s: float) -> News | None:
        """The next news, None when there is none in time; raises StoreError when the process has died."""
        if not self._link.poll(timeout_s):
            return None
        news: News = self._receive()
        return news

    def stop(self) -> EdgePairing:
        """End the process when it has indexed all that it was told of; gives the calls that wait for their other half.

        Raises StoreError when it dies before, or takes too long.
        """
        self._send(None)
        while self._link.poll(_STOP_TIMEOUT_S):
            said = self._receive()
            if isinstance(said, EdgePairing):
                return said
        raise StoreError(f"the index's process did not stop within {_STOP_TIMEOUT_S:g} s")

    def close(self) -> None:
        """See to it that the process is gone."""
        self._link.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: object) -> None:
        try:
            self._link.send(message)
        except OSError as error:
            raise StoreError("the index's process has died") from error

    def _receive(self) -> Any:
        try:
            return self._link.recv()
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise StoreError("the index's process has died") from error
