"""SQLAlchemy, 1.4 to 2.1: a CLIENT span per statement on every engine, whenever and however it was made."""

from pathlib import PurePath
from types import ModuleType
from typing import Any

from otel_agent.database import Database, Execution, StatementTracer

_SYSTEM_NAMES = {"mssql": "microsoft.sql_server", "oracle": "oracle.db"}


def instrument(library: ModuleType) -> None:
    """Listen to all engines through SQLAlchemy's events.

    The official instrumentor refuses SQLAlchemy 2.1, does not see engines that exist already, and puts the path of the
    database into the span name.
    """
    tracer = StatementTracer(__name__)

    def before_execute(conn: Any, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool) -> None:
        if conn.get_execution_options().get("skip_user_error_events"):
            return  # the dialect asks the database about itself, and nobody would be told of the end of a failure
        execution = Execution(tracer, statement, _database_of(conn.engine))
        context.spanwise_execution = execution.__enter__()

    def after_execute(_conn: Any, _cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool) -> None:
        _finish(context, None)

    def handle_error(exception_context: Any) -> None:
        _finish(exception_context.execution_context, exception_context.original_exception)

    engine = library.engine.Engine
    library.event.listen(engine, "before_cursor_execute", before_execute)
    library.event.listen(engine, "after_cursor_execute", after_execute)
    library.event.listen(engine, "handle_error", handle_error)


def _finish(context: Any, error: BaseException | None) -> None:
    execution = getattr(context, "spanwise_execution", None)
    if execution is not None:
        context.spanwise_execution = None
        execution.__exit__(type(error) if error else None, error, None)


def _database_of(engine: Any) -> Database:
    name = engine.url.database or ""
    if engine.dialect.name == "sqlite":
        name = PurePath(name).name or ":memory:"
    return Database(
        _SYSTEM_NAMES.get(engine.dialect.name, engine.dialect.name), name, engine.url.host or "", engine.url.port
    )
