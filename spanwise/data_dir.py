"""The data directory: who uses it, and where that one listens."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

LOCK_NAME = "spanwise.lock"


class DataDirError(Exception):
    """The data directory cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A running Spanwise: its supervisor's pid, and the addresses it serves."""

    pid: int
    ui: str
    otlp_http: str
    otlp_grpc: str


@contextlib.contextmanager
def claimed(data_dir: Path, instance: Instance | None = None) -> Iterator[None]:
    """Hold the data directory (made if need be, for its owner alone) while the block runs.

    What this process and its children write meanwhile is for their owner alone. A command that serves no addresses is
    no instance.
    Raises DataDirError when it cannot be written or another instance holds it.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        data_dir.chmod(0o700)
        fd = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        os.fchmod(fd, 0o600)
    except OSError as error:
        raise DataDirError(f"{data_dir} cannot be used: {error.strerror}. Choose another with --data.") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = running_instance(data_dir)
            who = f"Spanwise with pid {holder.pid} (UI at http://{holder.ui})" if holder else "Another Spanwise"
            raise DataDirError(f"{who} already uses {data_dir}. Stop it, or choose another with --data.") from error
        os.ftruncate(fd, 0)
        if instance is not None:
            os.pwrite(fd, json.dumps(asdict(instance)).encode(), 0)
        old_umask = os.umask(0o077)
        try:
            yield
        finally:
            os.umask(old_umask)
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def running_instance(data_dir: Path) -> Instance | None:
    """The instance that holds the data directory now; None when nobody does."""
    try:
        fd = os.open(data_dir / LOCK_NAME, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        with contextlib.suppress(ValueError, TypeError):
            return Instance(**json.loads(os.pread(fd, 4096, 0)))
    finally:
        os.close(fd)
    return None
