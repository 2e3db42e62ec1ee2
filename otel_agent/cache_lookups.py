"""Counts what the host looks up in its caches: two counters for all cache systems, and hit or miss on the current span.

Neither keys nor values are read.
"""

from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from functools import partial, wraps
from inspect import iscoroutinefunction
from typing import Any, NamedTuple

from opentelemetry import metrics, trace
from opentelemetry.sdk.trace import Span, SpanProcessor

from otel_agent.forks import in_children
from otel_agent.guard import guard
from otel_agent.readings import Reading, callback
from otel_agent.span_watch import watch_spans

# Names of caches come from the host's code, which may make them up as it runs.
_MAX_LOOKUPS = 500
_REST = "other"
# The attribute of a span object that holds [hits, misses] while it runs.
_NOTE = "_spanwise_cache_lookups"


class Lookup(NamedTuple):
    """What is counted apart: system ("redis"), operation ("GET") and the name of the cache, "" where there is none."""

    system: str
    operation: str
    name: str = ""

    def attributes(self) -> dict[str, str]:
        """Return the attributes of the counters."""
        named = {"cache.name": self.name} if self.name else {}
        return {"cache.system": self.system, "cache.operation": self.operation, **named}


class Tally:
    """Hits and misses of one lookup. `+=` on them takes no lock: no other thread gets its turn within it."""

    __slots__ = ("hits", "misses")

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0


class CacheLookups:
    """The tallies of this process, as observable counters: counting costs no more than an addition."""

    def __init__(self) -> None:
        self._tallies: dict[Lookup, Tally] = {}
        self._sources: list[Callable[[], None]] = []
        self._is_observed = False

    def tally(self, lookup: Lookup) -> Tally:
        """Return the tally of a lookup; from the 500th on, all further ones of a system and operation share one."""
        tally = self._tallies.get(lookup)
        if tally is None:
            if len(self._tallies) >= _MAX_LOOKUPS:
                lookup = lookup._replace(name=_REST)
            tally = self._tallies.setdefault(lookup, Tally())
            self._observe()
        return tally

    def add_source(self, update: Callable[[], None]) -> None:
        """Call `update` before every reading, for a cache that counts by itself."""
        self._sources.append(update)
        self._observe()

    def record(self, lookup: Lookup, hits: int, misses: int) -> None:
        """Count, and tell the current span."""
        tally = self.tally(lookup)
        tally.hits += hits
        tally.misses += misses
        tell_span(hits, misses)

    def forget(self) -> None:
        """Begin anew, as a forked child does: what its parent has counted is the parent's."""
        for tally in self._tallies.values():
            tally.hits = tally.misses = 0

    def _observe(self) -> None:
        if self._is_observed:
            return
        self._is_observed = True
        in_children(self.forget)
        meter = metrics.get_meter(__name__)
        for name, field, help_text in (
            ("cache.hit", "hits", "Lookups that found a value."),
            ("cache.miss", "misses", "Lookups that found none."),
        ):
            meter.create_observable_counter(name, [callback(name, partial(self._read, field))], "{lookup}", help_text)

    def _read(self, field: str) -> Reading:
        for update in self._sources:
            update()
        return [(getattr(tally, field), lookup.attributes()) for lookup, tally in list(self._tallies.items())]


def tell_span(hits: int, misses: int) -> None:
    """Note a lookup on the current span, for `LookupProcessor` to write when it ends; nothing in here can raise."""
    notes = getattr(trace.get_current_span(), "__dict__", None)
    if notes is None:
        return
    if not _processor.is_listening:
        _processor.is_listening = True
        watch_spans(_processor)
    noted = notes.get(_NOTE)
    if noted is None:
        notes[_NOTE] = [hits, misses]
    else:
        noted[0] += hits
        noted[1] += misses


class LookupProcessor(SpanProcessor):
    """Writes on a span that ends what it has looked up: `cache.hit` (was all of it there?), and counts if several keys.

    Once per span, for setting an attribute costs ten times what noting a lookup does. It begins to listen when the
    first lookup is noted.
    """

    is_listening = False

    def _on_ending(self, span: Span) -> None:
        noted = getattr(span, _NOTE, None)
        if noted is None:
            return
        hits, misses = noted
        with guard("write the cache lookups of a span"):
            # The specification lets a span be changed here; the SDK has locked it all the same.
            attributes: Any = span._attributes
            attributes._immutable = False
            attributes["cache.hit"] = not misses
            if hits + misses > 1:
                attributes["cache.hit_count"] = hits
                attributes["cache.miss_count"] = misses
            attributes._immutable = True


cache_lookups = CacheLookups()
_processor = LookupProcessor()

# (hits, misses) of one call, from its arguments, its reply, and what the calls of the same backend within it found.
Outcome = tuple[int, int]
CallReading = Callable[[tuple[Any, ...], dict[str, Any], Any, list[Outcome]], Outcome]

# The backend that is being asked and what it has found so far; a call within its call is counted by the outer one.
_asked: ContextVar[tuple[object, list[Outcome]] | None] = ContextVar("spanwise_asked_cache", default=None)


def count_lookups(backend: Any, system: str, name: str, readings: Mapping[str, CallReading]) -> None:
    """Count what is asked of `backend` by the methods that `readings` names; its class stays as it is."""
    for operation, reading in readings.items():
        method = getattr(backend, operation, None)
        if method is not None:
            shadow = _async_shadow if iscoroutinefunction(method) else _shadow
            setattr(backend, operation, shadow(backend, method, Lookup(system, operation, name), reading))


def found_by_get(args: tuple[Any, ...], kwargs: dict[str, Any], reply: Any, _within: list[Outcome]) -> Outcome:
    """Read a call `get(key, default=None)`: a reply that is the default is a miss."""
    default = args[1] if len(args) > 1 else kwargs.get("default")
    return (0, 1) if reply is default else (1, 0)


def _shadow(backend: object, method: Callable[..., Any], lookup: Lookup, reading: CallReading) -> Callable[..., Any]:
    @wraps(method)
    def shadow(*args: Any, **kwargs: Any) -> Any:
        outer = _asked.get()
        within: list[Outcome] = []
        token = _asked.set((backend, within))
        try:
            reply = method(*args, **kwargs)
        finally:
            _asked.reset(token)
        with guard("count a cache lookup"):
            _count(backend, outer, lookup, reading(args, kwargs, reply, within))
        return reply

    return shadow


def _async_shadow(
    backend: object, method: Callable[..., Coroutine[Any, Any, Any]], lookup: Lookup, reading: CallReading
) -> Callable[..., Coroutine[Any, Any, Any]]:
    @wraps(method)
    async def shadow(*args: Any, **kwargs: Any) -> Any:
        outer = _asked.get()
        within: list[Outcome] = []
        token = _asked.set((backend, within))
        try:
            reply = await method(*args, **kwargs)
        finally:
            _asked.reset(token)
        with guard("count a cache lookup"):
            _count(backend, outer, lookup, reading(args, kwargs, reply, within))
        return reply

    return shadow


def _count(backend: object, outer: tuple[object, list[Outcome]] | None, lookup: Lookup, outcome: Outcome) -> None:
    if outer is not None and outer[0] is backend:
        outer[1].append(outcome)
    elif any(outcome):
        cache_lookups.record(lookup, *outcome)
