"""functools.lru_cache and cache: hits and misses of the host's own caches, which count by themselves.

Only their making is noticed; the caches are those of functools, and a call costs what it always does.
"""

import functools
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from otel_agent.cache_lookups import Lookup, Tally, cache_lookups
from otel_agent.forks import in_children
from otel_agent.guard import guard
from otel_agent.source_files import is_host_file


@dataclass
class _Seen:
    """What a cache said of itself when it was last asked."""

    tally: Tally
    hits: int = 0
    misses: int = 0


class LruCaches:
    """The caches that are alive, weakly; what those that have died have counted is kept."""

    def __init__(self) -> None:
        self._seen: weakref.WeakKeyDictionary[Any, _Seen] = weakref.WeakKeyDictionary()

    def add(self, function: object, cache: Any) -> None:
        """Notice the cache of a function of the host; those of libraries would be hundreds that nobody can change."""
        if isinstance(function, FunctionType) and is_host_file(function.__code__.co_filename):
            name = f"{function.__module__}.{function.__qualname__}"
            self._seen[cache] = _Seen(cache_lookups.tally(Lookup("lru_cache", "call", name)))

    def update(self) -> None:
        """Add to the tallies what the caches have counted since they were last asked."""
        for cache, seen in list(self._seen.items()):
            info = cache.cache_info()
            is_cleared = info.hits < seen.hits or info.misses < seen.misses
            seen.tally.hits += info.hits - (0 if is_cleared else seen.hits)
            seen.tally.misses += info.misses - (0 if is_cleared else seen.misses)
            seen.hits, seen.misses = info.hits, info.misses

    def forget(self) -> None:
        """Take what the caches say now as the beginning, as a forked child does."""
        with guard("begin anew with the lru_caches of a child"):
            self.update()
        cache_lookups.forget()


def start() -> None:
    """Notice every cache that is made from now on."""
    caches = LruCaches()
    functools.lru_cache = _noticing(functools.lru_cache, caches)
    cache_lookups.add_source(caches.update)
    in_children(caches.forget)


def _noticing(lru_cache: Callable[..., Any], caches: LruCaches) -> Callable[..., Any]:
    @functools.wraps(lru_cache)
    def noticing_lru_cache(maxsize: Any = 128, typed: bool = False) -> Any:
        made = lru_cache(maxsize, typed)
        if hasattr(made, "cache_info"):  # used as a decorator without parentheses
            with guard("notice an lru_cache"):
                caches.add(maxsize, made)
            return made

        @functools.wraps(made)
        def decorating_function(user_function: Any) -> Any:
            cache = made(user_function)
            with guard("notice an lru_cache"):
                caches.add(user_function, cache)
            return cache

        return decorating_function

    return noticing_lru_cache
