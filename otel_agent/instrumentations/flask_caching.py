"""Flask-Caching: hits and misses by backend, of views and functions that are cached and of direct calls alike."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from wrapt import wrap_function_wrapper

from otel_agent.cache_lookups import Outcome, count_lookups, found_by_get
from otel_agent.guard import guard

# The keys under which it keeps the versions of memoized functions.
_VERSION_KEY_END = "_memver"


def instrument(library: ModuleType) -> None:
    """Count on the backend of every application that is set up from now on."""

    def set_cache(wrapped: Callable[..., Any], cache: Any, args: Any, kwargs: Any) -> Any:
        result = wrapped(*args, **kwargs)
        with guard("count the lookups of Flask-Caching"):
            app = args[0] if args else kwargs["app"]
            backend = app.extensions["cache"][cache]
            count_lookups(backend, "flask-caching", type(backend).__name__, _READINGS)
        return result

    wrap_function_wrapper(library, "Cache._set_cache", set_cache)


def _found_by_get_many(args: tuple[Any, ...], _kwargs: dict[str, Any], reply: Any, _within: list[Outcome]) -> Outcome:
    if all(isinstance(key, str) and key.endswith(_VERSION_KEY_END) for key in args):
        return 0, 0
    misses = sum(value is None for value in reply)
    return len(reply) - misses, misses


_READINGS = {"get": found_by_get, "get_many": _found_by_get_many}
