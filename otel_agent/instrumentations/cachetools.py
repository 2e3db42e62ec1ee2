"""cachetools: hits and misses of every cache object, by the function it was made for or else by its class.

It patches plain functions in for plain functions: the classes, their signatures and pickles stay what they are.
"""

import weakref
from collections.abc import Callable
from functools import wraps
from typing import Any

from otel_agent.cache_lookups import Lookup, Tally, cache_lookups, tell_span
from otel_agent.guard import guard


class CacheTallies:
    """The tally of each cache object; caches compare by their content, so they are told apart by identity."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[weakref.ref[Any], Tally]] = {}
        # Caches that throw something out just now, which they look up to do so.
        self.evicting: set[int] = set()

    def of(self, cache: Any) -> Tally:
        """Return the tally of a cache, by default that of its class."""
        entry = self._entries.get(id(cache))
        return entry[1] if entry is not None else self.name(cache, type(cache).__qualname__)

    def name(self, cache: Any, name: str) -> Tally:
        """Count a cache under `name` from now on."""
        key = id(cache)
        tally = cache_lookups.tally(Lookup("cachetools", "get", name))
        self._entries[key] = weakref.ref(cache, lambda _: self._entries.pop(key, None)), tally
        return tally

    def count(self, cache: Any, is_hit: bool) -> None:
        """Count one lookup; it is too frequent for a guard, and nothing in it can raise."""
        tally = self.of(cache)
        if is_hit:
            tally.hits += 1
            tell_span(1, 0)
        else:
            tally.misses += 1
            tell_span(0, 1)


def instrument(library: Any) -> None:
    """Count in every class of the library; a class of the host's own counts through the one it derives from."""
    tallies = CacheTallies()
    plain_missing = library.Cache.__missing__
    classes: list[Any] = [value for value in vars(library).values() if isinstance(value, type)]
    for cls in classes:
        if not issubclass(cls, library.Cache):
            continue
        if "__getitem__" in vars(cls):
            cls.__getitem__ = _counted_getitem(cls.__getitem__, tallies, plain_missing)
        if "popitem" in vars(cls):
            cls.popitem = _marked_popitem(cls.popitem, tallies)
    library.Cache.get = _counted_get(library.Cache.get, tallies)
    library.cached = _naming_cached(library.cached, tallies, library.Cache)


def _counted_getitem(getitem: Callable[..., Any], tallies: CacheTallies, plain_missing: object) -> Callable[..., Any]:
    @wraps(getitem)
    def __getitem__(self: Any, key: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        if id(self) in tallies.evicting:
            return getitem(self, key, *args, **kwargs)
        # A class that makes up missing values never raises, so it is asked beforehand.
        is_hit = key in self if type(self).__missing__ is not plain_missing else True
        try:
            value = getitem(self, key, *args, **kwargs)
        except KeyError:
            tallies.count(self, is_hit=False)
            raise
        tallies.count(self, is_hit)
        return value

    return __getitem__


def _counted_get(get: Callable[..., Any], tallies: CacheTallies) -> Callable[..., Any]:
    @wraps(get)
    def counted_get(self: Any, *args: Any, **kwargs: Any) -> Any:
        tally = tallies.of(self)
        before = tally.hits
        value = get(self, *args, **kwargs)
        if tally.hits == before:  # it has not come as far as __getitem__, which counts hits
            tallies.count(self, is_hit=False)
        return value

    return counted_get


def _marked_popitem(popitem: Callable[..., Any], tallies: CacheTallies) -> Callable[..., Any]:
    @wraps(popitem)
    def marked_popitem(self: Any) -> Any:
        tallies.evicting.add(id(self))
        try:
            return popitem(self)
        finally:
            tallies.evicting.discard(id(self))

    return marked_popitem


def _naming_cached(cached: Callable[..., Any], tallies: CacheTallies, cache_class: type) -> Callable[..., Any]:
    @wraps(cached)
    def naming_cached(cache: Any, *args: Any, **kwargs: Any) -> Any:
        decorator = cached(cache, *args, **kwargs)
        if not isinstance(cache, cache_class):  # a dict, which nobody can watch
            return decorator

        @wraps(decorator)
        def naming_decorator(function: Any) -> Any:
            decorated = decorator(function)
            with guard("name a cachetools cache"):
                tallies.name(cache, f"{decorated.__module__}.{decorated.__qualname__}")
            return decorated

        return naming_decorator

    return naming_cached
