"""psycopg 3: a CLIENT span per statement, unless SQLAlchemy on top of it has already made one."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

from wrapt import wrap_function_wrapper

from otel_agent.database import Database, Execution, StatementTracer
from otel_agent.guard import guard


def instrument(library: ModuleType) -> None:
    """Trace the cursors of every connection, those that exist already included."""
    tracer = StatementTracer(__name__)

    def execute(wrapped: Callable[..., Any], cursor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with _execution(tracer, cursor, *args, **kwargs):
            return wrapped(*args, **kwargs)

    async def execute_async(
        wrapped: Callable[..., Awaitable[Any]], cursor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        with _execution(tracer, cursor, *args, **kwargs):
            return await wrapped(*args, **kwargs)

    for method in ("execute", "executemany"):
        wrap_function_wrapper(library, f"Cursor.{method}", execute)
        wrap_function_wrapper(library, f"ServerCursor.{method}", execute)
        wrap_function_wrapper(library, f"AsyncCursor.{method}", execute_async)
        wrap_function_wrapper(library, f"AsyncServerCursor.{method}", execute_async)


def _execution(
    tracer: StatementTracer, cursor: Any, query: Any, *_args: Any, **_kwargs: Any
) -> AbstractContextManager[object]:
    with guard("read a statement"):
        if isinstance(query, bytes):
            query = query.decode(errors="replace")
        elif not isinstance(query, str):  # what psycopg.sql composes
            query = query.as_string(cursor)
        info = cursor.connection.info
        return Execution(tracer, query, Database("postgresql", info.dbname, info.host, info.port))
    return nullcontext()
