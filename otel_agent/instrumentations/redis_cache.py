"""redis-py: hits and misses of the commands that read a value, and of each of them in a pipeline."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from wrapt import wrap_function_wrapper

from otel_agent.cache_lookups import Lookup, cache_lookups
from otel_agent.guard import guard

_LOOKUPS = {
    command: Lookup("redis", command) for command in ("GET", "GETEX", "GETDEL", "HGET", "MGET", "HMGET", "HGETALL")
}
_OF_SEVERAL_KEYS = frozenset({"MGET", "HMGET"})


def instrument(library: ModuleType) -> None:
    """Count within the span of the command: this has to come before the library's own instrumentation."""

    def execute_command(wrapped: Callable[..., Any], _client: Any, args: Any, kwargs: Any) -> Any:
        reply = wrapped(*args, **kwargs)
        with guard("count the lookups of a Redis command"):
            _record(args, reply)
        return reply

    async def execute_command_async(wrapped: Callable[..., Any], _client: Any, args: Any, kwargs: Any) -> Any:
        reply = await wrapped(*args, **kwargs)
        with guard("count the lookups of a Redis command"):
            _record(args, reply)
        return reply

    def execute(wrapped: Callable[..., Any], pipeline: Any, args: Any, kwargs: Any) -> Any:
        commands = list(getattr(pipeline, "command_stack", ()))
        replies = wrapped(*args, **kwargs)
        with guard("count the lookups of a Redis pipeline"):
            _record_all(commands, replies)
        return replies

    async def execute_async(wrapped: Callable[..., Any], pipeline: Any, args: Any, kwargs: Any) -> Any:
        commands = list(getattr(pipeline, "command_stack", ()))
        replies = await wrapped(*args, **kwargs)
        with guard("count the lookups of a Redis pipeline"):
            _record_all(commands, replies)
        return replies

    wrap_function_wrapper(library, "Redis.execute_command", execute_command)
    wrap_function_wrapper(library, "client.Pipeline.execute", execute)
    if hasattr(library, "RedisCluster"):
        wrap_function_wrapper(library, "RedisCluster.execute_command", execute_command)
    if hasattr(library, "asyncio"):
        wrap_function_wrapper(library.asyncio, "Redis.execute_command", execute_command_async)
        wrap_function_wrapper(library.asyncio, "client.Pipeline.execute", execute_async)
        if hasattr(library.asyncio, "RedisCluster"):
            wrap_function_wrapper(library.asyncio, "RedisCluster.execute_command", execute_command_async)


def _record_all(commands: list[Any], replies: list[Any]) -> None:
    for (args, _options), reply in zip(commands, replies, strict=False):
        _record(args, reply)


def _record(args: tuple[Any, ...], reply: Any) -> None:
    command = args[0] if args else None
    if type(command) is not str:
        return
    lookup = _LOOKUPS.get(command) or _LOOKUPS.get(command.upper())
    if lookup is None or isinstance(reply, Exception):
        return
    if lookup.operation in _OF_SEVERAL_KEYS:
        misses = sum(value is None for value in reply)
        cache_lookups.record(lookup, len(reply) - misses, misses)
    else:
        is_found = reply is not None and not (type(reply) is dict and not reply)
        cache_lookups.record(lookup, int(is_found), int(not is_found))
