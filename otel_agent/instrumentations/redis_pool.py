"""redis-py's connection pools, threads and asyncio: use and limits, and the waits of those that let one wait."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from wrapt import wrap_function_wrapper

from otel_agent.connection_pools import ConnectionPools, PoolState
from otel_agent.guard import guard

# What redis-py takes for "no limit" when none is given.
_NO_LIMIT = 2**31
_TIMEOUT_MESSAGE = "No connection available."


def instrument(library: ModuleType) -> None:
    """Watch every pool made from now on; only a BlockingConnectionPool makes its caller wait."""
    pools = ConnectionPools(__name__, _read, lambda error: _TIMEOUT_MESSAGE in error.args)

    def make(wrapped: Callable[..., Any], pool: Any, args: Any, kwargs: Any) -> Any:
        wrapped(*args, **kwargs)
        with guard("name a pool of Redis"):
            pools.add(pool, _name_of(pool))

    def get_connection(wrapped: Callable[..., Any], pool: Any, args: Any, kwargs: Any) -> Any:
        with pools.wait(pools.name_of(pool) or "redis"):
            return wrapped(*args, **kwargs)

    async def get_connection_async(wrapped: Callable[..., Any], pool: Any, args: Any, kwargs: Any) -> Any:
        with pools.wait(pools.name_of(pool) or "redis"):
            return await wrapped(*args, **kwargs)

    wrap_function_wrapper(library, "ConnectionPool.__init__", make)
    wrap_function_wrapper(library, "BlockingConnectionPool.get_connection", get_connection)
    if hasattr(library, "asyncio"):
        wrap_function_wrapper(library.asyncio, "ConnectionPool.__init__", make)
        wrap_function_wrapper(library.asyncio, "BlockingConnectionPool.get_connection", get_connection_async)


def _name_of(pool: Any) -> str:
    kwargs = pool.connection_kwargs
    if "path" in kwargs:  # a Unix socket
        return f"{kwargs['path']}/{kwargs.get('db') or 0}"
    return f"{kwargs.get('host', 'localhost')}:{kwargs.get('port', 6379)}/{kwargs.get('db') or 0}"


def _read(pool: Any) -> PoolState:
    maximum = pool.max_connections if pool.max_connections < _NO_LIMIT else None
    queue = getattr(pool, "pool", None)
    if queue is None:
        return PoolState(len(pool._available_connections), len(pool._in_use_connections), maximum)
    # A blocking pool of threads keeps places in its queue, filled or not.
    idle = sum(connection is not None for connection in list(queue.queue))
    return PoolState(idle, len(pool._connections) - idle, maximum)
