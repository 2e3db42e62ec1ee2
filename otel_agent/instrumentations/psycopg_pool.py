"""psycopg_pool, threads and asyncio: waits, use and limits, by the name of the pool."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from wrapt import wrap_function_wrapper

from otel_agent.connection_pools import ConnectionPools, PoolState
from otel_agent.guard import guard


def instrument(library: ModuleType) -> None:
    """Measure where a connection is asked for; `connection()` asks there too."""
    pools = ConnectionPools(__name__, _read, lambda error: isinstance(error, library.PoolTimeout))

    def getconn(wrapped: Callable[..., Any], pool: Any, args: Any, kwargs: Any) -> Any:
        with pools.wait(_add(pools, pool)):
            return wrapped(*args, **kwargs)

    async def getconn_async(wrapped: Callable[..., Any], pool: Any, args: Any, kwargs: Any) -> Any:
        with pools.wait(_add(pools, pool)):
            return await wrapped(*args, **kwargs)

    wrap_function_wrapper(library, "ConnectionPool.getconn", getconn)
    wrap_function_wrapper(library, "AsyncConnectionPool.getconn", getconn_async)


def _add(pools: ConnectionPools, pool: Any) -> str:
    with guard("name a pool of psycopg"):
        return pools.name_of(pool) or pools.add(pool, str(pool.name))
    return "psycopg"


def _read(pool: Any) -> PoolState:
    figures = pool.get_stats()
    idle = figures.get("pool_available", 0)
    return PoolState(idle, figures.get("pool_size", 0) - idle, pool.max_size or None)
