"""Subclasses of the sqlite3 connection and cursor that trace what they execute.

Subclasses, not proxies: `isinstance`, `backup` and the shortcut `connection.execute` work as they do without us.
"""

import sqlite3
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from otel_agent.database import Database, Execution, StatementTracer

_tracer = StatementTracer("otel_agent.instrumentations.sqlite3", is_leaf=True)
_UNKNOWN = Database("sqlite")
_FACTORY_POSITION = 5  # of sqlite3.connect's parameters


class TracedCursor(sqlite3.Cursor):
    """A cursor whose statements become spans."""

    def execute(self, sql: str, *args: Any) -> Any:
        """Execute as sqlite3.Cursor does."""
        with Execution(_tracer, sql, getattr(self.connection, "traced_database", _UNKNOWN)):
            return super().execute(sql, *args)

    def executemany(self, sql: str, *args: Any) -> Any:
        """Execute as sqlite3.Cursor does; all parameter sets are one span."""
        with Execution(_tracer, sql, getattr(self.connection, "traced_database", _UNKNOWN)):
            return super().executemany(sql, *args)

    def executescript(self, sql_script: str) -> Any:
        """Execute as sqlite3.Cursor does; the whole script is one span."""
        with Execution(_tracer, sql_script, getattr(self.connection, "traced_database", _UNKNOWN)):
            return super().executescript(sql_script)


class TracedConnection(sqlite3.Connection):
    """A connection whose cursors trace, unless the caller brings a cursor factory of its own."""

    def __init__(self, database: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(database, *args, **kwargs)
        self.traced_database = Database("sqlite", PurePath(str(database)).name)

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """Return a traced cursor, or what the given factory makes."""
        if args or kwargs:
            return super().cursor(*args, **kwargs)
        return super().cursor(TracedCursor)

    def execute(self, *args: Any) -> Any:
        """Execute on a new cursor, as the shortcut of sqlite3.Connection does without asking `cursor`."""
        return super().cursor(TracedCursor).execute(*args)

    def executemany(self, *args: Any) -> Any:
        """Execute on a new cursor, as `execute` does."""
        return self.cursor().executemany(*args)

    def executescript(self, *args: Any) -> Any:
        """Execute on a new cursor, as `execute` does."""
        return self.cursor().executescript(*args)


def traced_connect(
    connect: Callable[..., Any], _instance: object, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call sqlite3.connect so that it makes a traced connection, unless the caller brings a factory of its own."""
    if len(args) <= _FACTORY_POSITION:
        kwargs.setdefault("factory", TracedConnection)
    return connect(*args, **kwargs)
