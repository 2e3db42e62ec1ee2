"""Reading connections, each question in one snapshot of the database and within a time limit."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Select, create_engine, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

from apm_store.api import StoreError, StoreTimeoutError
from apm_store.model import Signal
from apm_store.otlp_decode import parse_request
from apm_store.sqlite.bodies import place_of, unpack
from apm_store.sqlite.connections import connect_reader
from apm_store.sqlite.schema import body

_STEPS_PER_CHECK = 10_000  # of SQLite's virtual machine: well below a millisecond between looks at the clock
_BODIES_AT_ONCE = 200


class Snapshot:
    """One question's view of the database; what is asked through it ends with StoreTimeoutError when it is late."""

    def __init__(self, connection: Connection, limit_s: float) -> None:
        self._connection = connection
        self._start_s = time.monotonic()
        self._limit_s = limit_s
        self._share = 1.0

    @contextmanager
    def within(self, share: float) -> Iterator[None]:
        """Give up at a share of the time limit (counted from the start of the question), leaving time for the rest."""
        self._share = share
        try:
            yield
        finally:
            self._share = 1.0

    def is_late(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() - self._start_s > self._limit_s * self._share

    def stream(self, question: Select[Any]) -> Iterator[Row[Any]]:
        """The rows of a SELECT, fetched as they are taken."""
        try:
            with self._connection.execute(question) as result:
                yield from result
        except DBAPIError as error:
            raise self._explained(error) from error

    def rows(self, question: Select[Any]) -> list[Row[Any]]:
        """All rows of a SELECT, fetched at once, which costs half."""
        try:
            with self._connection.execute(question) as result:
                return list(result.all())
        except DBAPIError as error:
            raise self._explained(error) from error

    def requests(self, signal: Signal, items: Collection[int]) -> Iterator[tuple[int, Any, set[int]]]:
        """The stored requests that hold the items with these ids: (body id, request, positions of the items)."""
        places = sorted(map(place_of, items))
        positions = {body_id: {place for _, place in group} for body_id, group in groupby(places, lambda at: at[0])}
        waiting = iter(positions)
        while chunk := list(islice(waiting, _BODIES_AT_ONCE)):
            for row in self.stream(select(body.c.id, body.c.codec, body.c.data).where(body.c.id.in_(chunk))):
                yield row.id, parse_request(signal, unpack(row.codec, row.data)), positions[row.id]
                self.check()

    def check(self) -> None:
        """Raise StoreTimeoutError when the time is over; for work between SELECTs."""
        if self.is_late():
            raise StoreTimeoutError

    def _explained(self, error: DBAPIError) -> StoreError:
        return StoreTimeoutError() if self.is_late() else StoreError(f"The store could not be read: {error.orig}.")


class Reader:
    """A pool of reading connections to one database file."""

    def __init__(self, path: Path, limit_s: float) -> None:
        self._limit_s = limit_s
        self.engine = create_engine(
            "sqlite://",
            creator=partial(connect_reader, path),
            poolclass=QueuePool,
            pool_size=4,
            max_overflow=12,
            pool_timeout=limit_s,
        )

    @contextmanager
    def snapshot(self, patience: float = 1.0) -> Iterator[Snapshot]:
        """A view of the database that does not change while it is used; `patience` stretches the time limit."""
        try:
            connection = self.engine.connect()
        except PoolTimeoutError as error:
            raise StoreTimeoutError from error
        except DBAPIError as error:
            raise StoreError(f"The store could not be opened for reading: {error.orig}.") from error
        with connection:
            snapshot = Snapshot(connection, self._limit_s * patience)
            driver: Any = connection.connection.dbapi_connection
            connection.exec_driver_sql("BEGIN")
            driver.set_progress_handler(snapshot.is_late, _STEPS_PER_CHECK)
            try:
                yield snapshot
            finally:
                driver.set_progress_handler(None, 0)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()
