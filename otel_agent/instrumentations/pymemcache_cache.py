"""pymemcache: hits and misses of everything that reads values."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from wrapt import wrap_function_wrapper

from otel_agent.cache_lookups import Lookup, cache_lookups
from otel_agent.guard import guard

_LOOKUPS = {command: Lookup("memcached", command.decode()) for command in (b"get", b"gets")}


def instrument(library: ModuleType) -> None:
    """Count where all readings come together, one or several keys: what came back is what was there."""

    def fetch(wrapped: Callable[..., Any], _client: Any, args: Any, kwargs: Any) -> Any:
        found = wrapped(*args, **kwargs)
        with guard("count the lookups of a memcached command"):
            lookup = _LOOKUPS.get(args[0])
            if lookup is not None:
                cache_lookups.record(lookup, len(found), max(len(args[1]) - len(found), 0))
        return found

    wrap_function_wrapper(library, "Client._fetch_cmd", fetch)
