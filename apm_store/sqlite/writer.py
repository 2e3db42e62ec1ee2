"""The one thread that writes: it puts the batches that wait into one transaction, so they share one commit."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apm_store.api import StoreBusyError, StoreClosedError, StoreError, WriteOutcome
from apm_store.model import Batch, Signal
from apm_store.sqlite.bodies import CODEC, MAX_ITEMS, digest_of, pack
from apm_store.sqlite.connections import connect_writer
from apm_store.sqlite.transaction import Transaction, Written
from apm_store.sqlite.write_logs import write_log_records
from apm_store.sqlite.write_metrics import write_data_points
from apm_store.sqlite.write_traces import write_spans

QUEUE_BYTES = 64 * 1024 * 1024
"""How many bytes of OTLP may wait for the writer."""

_ITEM_WRITERS: dict[Signal, Callable[[Transaction, Any, int, int], Written]] = {
    Signal.TRACES: write_spans,
    Signal.METRICS: write_data_points,
    Signal.LOGS: write_log_records,
}
_INSERT_BODY = "INSERT INTO body VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_BATCH_ERRORS = (sqlite3.Error, ArithmeticError, LookupError, TypeError, ValueError, AttributeError)


@dataclass(slots=True)
class _Job:
    """A batch that waits, with its body ready to be stored."""

    batch: Batch
    digest: bytes
    data: bytes
    done: Future[WriteOutcome] = field(default_factory=Future)


class Writer:
    """Owns the writer connection of one database file; makes or migrates the database when it starts."""

    def __init__(self, path: Path) -> None:
        self._connection = connect_writer(path)
        self._transaction = Transaction(self._connection)
        self._waiting: deque[_Job] = deque()
        self._waiting_bytes = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="spanwise-store-writer", daemon=True)
        self._thread.start()

    def write(self, batch: Batch) -> WriteOutcome:
        """Store a batch; returns after the commit that holds it.

        Raises StoreBusyError when too many bytes wait already, StoreError when this batch cannot be stored.
        """
        if batch.item_count == 0:
            return WriteOutcome(0, 0)
        if batch.item_count > MAX_ITEMS:
            raise StoreError(f"A batch of {batch.item_count} items is too large; split it into {MAX_ITEMS} at most.")
        job = _Job(batch, digest_of(batch.signal, batch.body), pack(batch.body))
        with self._changed:
            if self._is_closed:
                raise StoreClosedError
            if self._waiting and self._waiting_bytes + len(batch.body) > QUEUE_BYTES:
                raise StoreBusyError
            self._waiting.append(job)
            self._waiting_bytes += len(batch.body)
            self._changed.notify_all()
        return job.done.result()

    def close(self) -> None:
        """Write what waits, then close the connection; further calls do nothing."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        jobs: list[_Job] = []
        try:
            while jobs := self._take():
                self._commit(jobs)
        finally:  # also when the thread dies of a fault, so that nobody waits for ever
            with self._changed:
                self._is_closed = True
                jobs += self._waiting
                self._waiting.clear()
            for job in jobs:
                if not job.done.done():
                    job.done.set_exception(StoreError("The store's writer has stopped; restart Spanwise."))
            self._connection.close()

    def _take(self) -> list[_Job]:
        """All jobs that wait, as soon as there is one; empty when the writer is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            jobs = list(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            return jobs

    def _commit(self, jobs: list[_Job]) -> None:
        """Write the jobs in one transaction; a job that cannot be stored fails alone."""
        answers: list[tuple[_Job, WriteOutcome | StoreError]] = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            answers = [(job, self._write_or_undo(job)) for job in jobs]
            self._transaction.flush()
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo()
            answers = [(job, _failed(error)) for job in jobs]
        for job, answer in answers:
            if isinstance(answer, WriteOutcome):
                job.done.set_result(answer)
            else:
                job.done.set_exception(answer)

    def _undo(self) -> None:
        self._transaction.forget()
        if self._connection.in_transaction:  # a full disk has undone it already
            self._connection.execute("ROLLBACK")

    def _write_or_undo(self, job: _Job) -> WriteOutcome | StoreError:
        """Write one job inside a savepoint; an error of the whole transaction is raised, one of the job returned."""
        self._connection.execute("SAVEPOINT batch")
        outcome: WriteOutcome | StoreError
        try:
            outcome = self._write(job)
        except _BATCH_ERRORS as error:
            if not self._connection.in_transaction:
                raise
            self._connection.execute("ROLLBACK TO batch")
            self._transaction.reject()
            outcome = _failed(error)
        self._connection.execute("RELEASE batch")
        return outcome

    def _write(self, job: _Job) -> WriteOutcome:
        """Write the rows and the body of one job, unless the store holds them."""
        batch, connection = job.batch, self._connection
        if connection.execute("SELECT 1 FROM body WHERE digest = ?", (job.digest,)).fetchone():
            return WriteOutcome(0, batch.item_count)
        body_id = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM body").fetchone()[0]
        received_ns = time.time_ns()
        written = _ITEM_WRITERS[batch.signal](self._transaction, batch.request, body_id, received_ns)
        if written.stored:
            times = (received_ns, written.first_ns, written.last_ns)
            stored_form = (batch.item_count, CODEC, job.digest, job.data)
            connection.execute(_INSERT_BODY, (body_id, batch.signal.value, *times, *stored_form))
            self._transaction.count(batch.signal.value, written.stored)
        self._transaction.accept()
        return WriteOutcome(written.stored, batch.item_count - written.stored)


def _failed(error: Exception) -> StoreError:
    """The error of one caller; each gets its own, because raising changes an exception."""
    failure = StoreError(f"The batch could not be stored: {error}.")
    failure.__cause__ = error
    return failure
