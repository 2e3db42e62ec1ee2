"""Every configuration that was accepted, byte for byte, as numbered files beside an index."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

MAX_CHECKPOINTS = 500
_INDEX = "index.json"


class HistoryError(Exception):
    """The history cannot answer; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One accepted configuration: when it was accepted, the SHA-256 of its text, and the file that it came from."""

    number: int
    time_ns: int
    sha256: str
    file: str


class ConfigHistory:
    """The checkpoints in a directory, which one process writes and any may read.

    A checkpoint is there once the index names it: the index is written last, so a kill leaves at most a text that
    nobody knows, and the next checkpoint takes its place.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def checkpoints(self) -> list[Checkpoint]:
        """All checkpoints, oldest first; the last one is the configuration in use. Raises HistoryError."""
        path = self._directory / _INDEX
        try:
            return [Checkpoint(**entry) for entry in json.loads(path.read_bytes())]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError) as error:
            raise HistoryError(f"{path} cannot be read: {error}. Its texts lie beside it.") from error

    def text(self, number: int) -> bytes:
        """The text of a checkpoint. Raises HistoryError when there is none or its text is not the one accepted."""
        known = {one.number: one for one in self.checkpoints()}
        if number not in known:
            numbers = f"{min(known)} to {max(known)}" if known else "none yet"
            raise HistoryError(f"There is no checkpoint {number} in {self._directory}; there are: {numbers}.")
        path = self._path(number)
        try:
            text = path.read_bytes()
        except OSError as error:
            raise HistoryError(f"{path} cannot be read: {error.strerror}.") from error
        if hash_of(text) != known[number].sha256:
            raise HistoryError(f"{path} was changed since it was accepted; it is not used.")
        return text

    def accept(self, text: bytes, file: Path) -> Checkpoint:
        """Keep a configuration as the newest checkpoint; the same text twice in a row is one checkpoint.

        Raises OSError when it cannot be written. An index that cannot be read is set aside, and numbers go on.
        """
        try:
            checkpoints = self.checkpoints()
        except HistoryError:
            (self._directory / _INDEX).replace(self._directory / f"{_INDEX}.corrupt-{time.time_ns()}")
            checkpoints = []
        last = checkpoints[-1] if checkpoints else None
        if last is not None and last.sha256 == hash_of(text) and self._is_intact(last):
            newest = replace(last, file=str(file))
            if newest != last:
                self._write_index([*checkpoints[:-1], newest])
            return newest
        newest = Checkpoint(self._next_number(last), time.time_ns(), hash_of(text), str(file))
        self._directory.mkdir(mode=0o700, exist_ok=True)
        for scrap in self._directory.glob(".*"):  # what a killed process was writing
            scrap.unlink()
        write_atomically(self._path(newest.number), text)
        checkpoints.append(newest)
        self._write_index(checkpoints[-MAX_CHECKPOINTS:])
        for old in checkpoints[:-MAX_CHECKPOINTS]:
            self._path(old.number).unlink(missing_ok=True)
        return newest

    def _next_number(self, last: Checkpoint | None) -> int:
        if last is not None:
            return last.number + 1
        found = (int(path.stem) for path in self._directory.glob("[0-9]*.yaml") if path.stem.isdecimal())
        return max(found, default=0) + 1

    def _is_intact(self, checkpoint: Checkpoint) -> bool:
        with contextlib.suppress(OSError):
            return hash_of(self._path(checkpoint.number).read_bytes()) == checkpoint.sha256
        return False

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:04d}.yaml"

    def _write_index(self, checkpoints: list[Checkpoint]) -> None:
        lines = ",\n".join(json.dumps(asdict(one)) for one in checkpoints)
        write_atomically(self._directory / _INDEX, f"[\n{lines}\n]\n".encode())


def hash_of(text: bytes) -> str:
    """The SHA-256 of a configuration's text, in hex."""
    return hashlib.sha256(text).hexdigest()


def write_atomically(path: Path, text: bytes) -> None:
    """Write a file so that whoever reads it, also after a kill or a power cut, finds the old text or the new one whole.

    The file keeps its mode; a new one is its owner's alone. Raises OSError.
    """
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(text)
            file.flush()
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(fd, path.stat().st_mode & 0o777)
            os.fsync(fd)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
