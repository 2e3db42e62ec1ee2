"""The configuration file while the collector runs: what changes in it is taken or refused, and kept as a checkpoint."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from apm_collector.config import CollectorConfig, ConfigError
from apm_collector.config_history import ConfigHistory, HistoryError, hash_of
from apm_collector.errors import CollectorError
from apm_collector.log_text import printable
from apm_collector.strict_yaml import MAX_FILE_BYTES

INTERVAL_S = 0.5
_log = logging.getLogger(__name__)
_Signature = tuple[Path, int, int, int] | None


class LiveConfig:
    """Follows the file in use: the first of `paths` that is there.

    A change is looked at once the file has rested for one interval, so that what an editor writes in pieces is read
    whole. Whatever cannot be used, or is gone, is refused with a reason, and the configuration in use stays.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        history: ConfigHistory,
        parse: Callable[[str], CollectorConfig],
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        """`parse` reads a text, and raises ConfigError."""
        self._paths = paths
        self._path = paths[-1]
        self._history = history
        self._parse = parse
        self._interval_s = interval_s
        self._decided: _Signature = None
        self._resting: _Signature = None
        self._state: dict[str, Any] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def load(self) -> CollectorConfig:
        """The configuration to start with: the file's, or where that cannot be used the last one accepted.

        Raises ConfigError when the file cannot be used and nothing was accepted before.
        """
        self._path, signature = self._look()
        try:
            text = _read(self._path)
            config = self._parse(text.decode())
        except (ConfigError, OSError, UnicodeDecodeError) as error:
            config, text = self._last_accepted(error)
            self._accepted(text, self._path)
            self._refuse(f"{self._path}: {_reason(error)}")
        else:
            self._accepted(text, self._path)
        self._decided = self._resting = signature
        return config

    def follow(self, apply: Callable[[CollectorConfig], None]) -> None:
        """From now on have every change applied; `apply` raises CollectorError when it cannot be."""
        self._thread = threading.Thread(target=self._run, args=(apply,), name="configuration", daemon=True)
        self._thread.start()

    def state(self) -> dict[str, Any]:
        """The `checkpoint`, `sha256`, `since_ns` and `file` of what is in use, and why the file's text is `refused`."""
        return dict(self._state)

    def stop(self) -> None:
        """Follow no longer. Idempotent."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(2)

    def _run(self, apply: Callable[[CollectorConfig], None]) -> None:
        while not self._stopping.wait(self._interval_s):
            path, signature = self._look()
            if signature == self._decided:
                continue
            if signature == self._resting:
                self._take(path, signature, apply)
            self._resting = signature

    def _look(self) -> tuple[Path, _Signature]:
        """The file in use and what a change of it changes; one that is gone does not make way for a later one."""
        candidates = self._paths[: self._paths.index(self._path) + 1]
        for path in candidates:
            try:
                found = path.stat()
            except OSError:
                continue
            return path, (path, found.st_ino, found.st_mtime_ns, found.st_size)
        return self._path, None

    def _take(self, path: Path, signature: _Signature, apply: Callable[[CollectorConfig], None]) -> None:
        """Apply what the file holds now, unless it changes at this moment."""
        try:
            text = _read(path)
            if self._look() != (path, signature):
                return
            if hash_of(text) != self._state["sha256"]:
                apply(self._parse(text.decode()))
                _log.warning("%s: the collector runs with this configuration from now on", path)
            self._path = path
            self._accepted(text, path)
        except (ConfigError, CollectorError, OSError, UnicodeDecodeError) as error:
            self._refuse(f"{path}: {_reason(error)}")
        self._decided = signature

    def _accepted(self, text: bytes, path: Path) -> None:
        """Keep a configuration that runs."""
        number = None
        try:
            number = self._history.accept(text, path).number
        except OSError as error:
            _log.warning("%s runs but could not be kept as a checkpoint: %s", path, error)
        since_ns = time.time_ns()
        if self._state.get("sha256") == hash_of(text):
            since_ns = self._state["since_ns"]
        self._state = {
            "checkpoint": number,
            "sha256": hash_of(text),
            "since_ns": since_ns,
            "file": str(path),
            "refused": "",
        }

    def _refuse(self, reason: str) -> None:
        reason = printable(reason, 1000)
        _log.warning("%s; the configuration in use stays", reason)
        self._state = self._state | {"refused": reason}

    def _last_accepted(self, error: Exception) -> tuple[CollectorConfig, bytes]:
        """The newest checkpoint; raises ConfigError for the error when there is none that can be used."""
        try:
            text = self._history.text(self._history.checkpoints()[-1].number)
            return self._parse(text.decode()), text
        except (HistoryError, IndexError, ConfigError, UnicodeDecodeError) as other:
            raise ConfigError(f"{self._path}: {_reason(error)}") from other


def _read(path: Path) -> bytes:
    """The text of a file; of one that is too large as much as shows that."""
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    if isinstance(error, OSError):
        return f"it cannot be read: {error.strerror}"
    return str(error)
