"""Django's caches: hits and misses by alias, whatever the backend."""

from collections.abc import Callable, Sized
from types import ModuleType
from typing import Any

from wrapt import wrap_function_wrapper

from otel_agent.cache_lookups import Outcome, count_lookups, found_by_get
from otel_agent.guard import guard


def instrument(library: ModuleType) -> None:
    """Count on every backend that is made from now on; Django makes one per thread and alias, when it is first used."""

    def create_connection(wrapped: Callable[..., Any], _handler: Any, args: Any, kwargs: Any) -> Any:
        backend = wrapped(*args, **kwargs)
        with guard("count the lookups of a Django cache"):
            alias = args[0] if args else kwargs["alias"]
            count_lookups(backend, "django", str(alias), _READINGS)
        return backend

    wrap_function_wrapper(library, "CacheHandler.create_connection", create_connection)


def _found_by_get_many(args: tuple[Any, ...], kwargs: dict[str, Any], reply: Any, within: list[Outcome]) -> Outcome:
    if within:
        return sum(hits for hits, _ in within), sum(misses for _, misses in within)
    keys = args[0] if args else kwargs.get("keys")
    return (len(reply), max(len(keys) - len(reply), 0)) if isinstance(keys, Sized) else (0, 0)


def _found_by_has_key(_args: tuple[Any, ...], _kwargs: dict[str, Any], reply: Any, _within: list[Outcome]) -> Outcome:
    return (1, 0) if reply else (0, 1)


def _found_by_get_or_set(
    _args: tuple[Any, ...], _kwargs: dict[str, Any], _reply: Any, within: list[Outcome]
) -> Outcome:
    # After a miss it asks a second time, for what it has just stored.
    return within[0] if within else (0, 0)


_READINGS = {
    "get": found_by_get,
    "get_many": _found_by_get_many,
    "has_key": _found_by_has_key,
    "get_or_set": _found_by_get_or_set,
    "aget_or_set": _found_by_get_or_set,
}
