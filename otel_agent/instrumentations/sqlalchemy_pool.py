"""SQLAlchemy's QueuePool, asyncio's included: waits, use and limits, by server and database."""

from collections.abc import Callable
from pathlib import PurePath
from types import ModuleType
from typing import Any

from wrapt import wrap_function_wrapper

from otel_agent.connection_pools import ConnectionPools, PoolState
from otel_agent.guard import guard


def instrument(library: ModuleType) -> None:
    """Measure where an engine asks its pool; the other kinds of pool let nobody wait."""
    timeout_error = library.exc.TimeoutError
    pools = ConnectionPools(__name__, _read, lambda error: isinstance(error, timeout_error))
    queue_pool = library.pool.QueuePool

    def raw_connection(wrapped: Callable[..., Any], engine: Any, args: Any, kwargs: Any) -> Any:
        name = None
        with guard("name a pool of SQLAlchemy"):
            if isinstance(engine.pool, queue_pool):
                name = pools.name_of(engine.pool) or pools.add(engine.pool, _name_of(engine))
        if name is None:
            return wrapped(*args, **kwargs)
        with pools.wait(name):
            return wrapped(*args, **kwargs)

    wrap_function_wrapper(library, "engine.Engine.raw_connection", raw_connection)


def _name_of(engine: Any) -> str:
    if engine.pool.logging_name:
        return str(engine.pool.logging_name)
    url = engine.url
    if engine.dialect.name == "sqlite":
        return PurePath(url.database or ":memory:").name
    server = f"{url.host or 'localhost'}:{url.port}" if url.port else url.host or "localhost"
    return f"{server}/{url.database}" if url.database else server


def _read(pool: Any) -> PoolState:
    # A negative overflow of the settings means that the pool grows without limit.
    maximum = pool.size() + pool._max_overflow if pool._max_overflow >= 0 and pool.size() > 0 else None
    return PoolState(pool.checkedin(), pool.checkedout(), maximum)
