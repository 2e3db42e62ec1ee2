"""The SQLite store: logs of requests, an index over each, a catalogue over all; one writer, any number of readers.

Reading is loaded on the first question, so that a process which only writes never pays for SQLAlchemy.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from apm_store.api import SchemaError, StoreClosedError, StoreError
from apm_store.model import Batch, Signal
from apm_store.query import PruneEntry, Retention, StoreHealth, StoreStats, TimeRange
from apm_store.sqlite.condition import Condition
from apm_store.sqlite.segments import CATALOGUE_NAME
from apm_store.sqlite.signals import Logs, Metrics, Traces

if TYPE_CHECKING:
    from apm_store.sqlite.reader import Reader, Snapshot
    from apm_store.sqlite.writer import Writer

READ_LIMIT_S = 2.0
"""How long a question may take before it is broken off."""

_CATCH_UP_S = 30.0


class SqliteStore:
    """A store in one data directory; satisfies `api.Store`.

    `read_limit_s` bounds every question. Raises SchemaError for a database of somebody else or of a newer version,
    StoreError when `read_only` finds no database.
    """

    def __init__(
        self,
        data_dir: Path,
        read_only: bool,
        *,
        retention: Retention | None = None,
        read_limit_s: float = READ_LIMIT_S,
    ) -> None:
        self._data_dir = data_dir
        self._read_limit_s = read_limit_s
        self._is_closed = False
        self._lock = threading.Lock()
        self._reader: Reader | None = None
        self._writer = None if read_only else _open_writer(data_dir, retention or Retention())
        try:
            self._condition = Condition(data_dir)
        except StoreError:
            if self._writer is not None:
                self._writer.close()
            raise
        self.traces = Traces(self)
        self.metrics = Metrics(self)
        self.logs = Logs(self)

    def write(self, signal: Signal, batch: Batch) -> None:
        """Store a batch of a signal, see `api.SignalWriter`."""
        if batch.signal is not signal:
            raise StoreError(f"A batch of {batch.signal.value} was written to the store's {signal.value}.")
        self._writing().write(batch)

    def snapshot(self, patience: float = 1.0) -> AbstractContextManager[Snapshot]:
        """A view of the store to ask one question through; loads what reading needs when first used.

        `patience` stretches the time limit of the question. A store that writes sees all that it has stored.
        """
        from apm_store.sqlite.reader import Reader  # loads SQLAlchemy, 14 MB that a writer has no use for

        if self._writer is not None:
            self._writer.indexer.catch_up(_CATCH_UP_S)
        with self._lock:
            if self._is_closed:
                raise StoreClosedError
            self._reader = self._reader or Reader(self._data_dir, self._read_limit_s)
            return self._reader.snapshot(patience)

    def stats(self) -> StoreStats:
        """What the store holds; a handful of look-ups."""
        if self._writer is not None:
            self._writer.indexer.catch_up(_CATCH_UP_S)
        return self._condition.stats()

    def health(self) -> StoreHealth:
        """How the store is doing, see `api.Store`."""
        return self._condition.health(self._writer)

    def bodies(self, signal: Signal, time_range: TimeRange) -> Iterator[bytes]:
        """The stored requests, see `api.Store`."""
        from apm_store.sqlite.body_export import stored_bodies

        with self.snapshot(float("inf")) as snapshot:  # gives the places alone, so that no export holds it for long
            return stored_bodies(snapshot, signal, time_range)

    def backup(self, target: Path) -> None:
        """Copy the store, see `api.Store`."""
        from apm_store.sqlite.backup import back_up

        back_up(self._data_dir, target)

    def prune(self, *, before_ns: int | None = None, to_bytes: int | None = None) -> PruneEntry | None:
        """Remove the oldest raw data, see `api.Store`."""
        return self._writing().prune(before_ns=before_ns, to_bytes=to_bytes)

    def close(self) -> None:
        """Write what was taken, then let go of the files; further calls do nothing."""
        with self._lock:
            is_first, self._is_closed = not self._is_closed, True
        if self._writer is not None:
            self._writer.close()
        if is_first:
            self._condition.close()
        if is_first and self._reader is not None:
            self._reader.close()

    def _writing(self) -> Writer:
        if self._writer is None:
            raise StoreError("The store was opened for reading only.")
        return self._writer


def _open_writer(data_dir: Path, retention: Retention) -> Writer:
    from apm_store.sqlite.writer import Writer  # loads protobuf and zstd

    try:
        return Writer(data_dir, retention)
    except sqlite3.Error as error:
        raise SchemaError(f"{data_dir / CATALOGUE_NAME} cannot be opened as a Spanwise database: {error}.") from error
