"""How long the host waits for a connection of a pool, and how many each has in use and idle, as the conventions say."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from opentelemetry import metrics, trace
from opentelemetry.sdk.trace import Span

from otel_agent.guard import guard
from otel_agent.readings import Reading, callback

# Seconds, as the semantic conventions advise for db.client.operation.duration.
_WAIT_BUCKETS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
# A shorter wait is the price of asking, and no news for a span.
_MIN_SPAN_WAIT_S = 0.001
_WAIT_TIME = "db.client.connection.wait_time"
_POOL_NAME = "db.client.connection.pool.name"


class PoolState(NamedTuple):
    """Connections of a pool that wait to be used and that are used, and how many it may have; None is no limit."""

    idle: int
    used: int
    maximum: int | None


class ConnectionPools:
    """The pools of one library, held weakly; `is_timeout` knows the error of a wait that was too long."""

    def __init__(
        self, scope: str, read: Callable[[Any], PoolState], is_timeout: Callable[[BaseException], bool]
    ) -> None:
        self._read = read
        self.is_timeout = is_timeout
        self._names: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        meter = metrics.get_meter(scope)
        self.wait_time = meter.create_histogram(
            _WAIT_TIME,
            "s",
            "Time between asking a pool for a connection and having it; a new connection is opened within it.",
            explicit_bucket_boundaries_advisory=_WAIT_BUCKETS_S,
        )
        self.timeouts = meter.create_counter(
            "db.client.connection.timeouts", "{timeout}", "Waits for a connection that were given up."
        )
        for name, read_all, help_text in (
            ("db.client.connection.count", self._count, "Connections of a pool, by state."),
            ("db.client.connection.max", self._maximum, "Connections a pool may have at most."),
        ):
            meter.create_observable_up_down_counter(name, [callback(name, read_all)], "{connection}", help_text)

    def add(self, pool: Any, name: str) -> str:
        """Watch a pool and return its name; pools of one name are added up."""
        return self._names.setdefault(pool, name)

    def name_of(self, pool: Any) -> str | None:
        """Return the name of a pool that is watched."""
        return self._names.get(pool)

    def wait(self, name: str) -> "Wait":
        """Return the wait for a connection: enter it before asking and exit it with the connection or the error."""
        return Wait(self, {_POOL_NAME: name})

    def _states(self) -> dict[str, PoolState]:
        states: dict[str, PoolState] = {}
        for pool, name in list(self._names.items()):
            state = self._read(pool)
            other = states.get(name)
            if other is not None:
                is_limited = state.maximum is not None and other.maximum is not None
                maximum = (state.maximum or 0) + (other.maximum or 0) if is_limited else None
                state = PoolState(state.idle + other.idle, state.used + other.used, maximum)
            states[name] = state
        return states

    def _count(self) -> Reading:
        return [
            (value, {_POOL_NAME: name, "db.client.connection.state": kind})
            for name, state in self._states().items()
            for kind, value in (("idle", state.idle), ("used", state.used))
        ]

    def _maximum(self) -> Reading:
        return [
            (state.maximum, {_POOL_NAME: name}) for name, state in self._states().items() if state.maximum is not None
        ]


class Wait:
    """One wait for a connection."""

    def __init__(self, pools: ConnectionPools, attributes: dict[str, str]) -> None:
        self._pools = pools
        self._attributes = attributes
        self._start_s = 0.0

    def __enter__(self) -> None:
        """Begin to wait."""
        self._start_s = time.perf_counter()

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Record the wait, and on the current span too if it was long; or the timeout."""
        wait_s = time.perf_counter() - self._start_s
        with guard("record a wait for a connection"):
            if error is None:
                self._pools.wait_time.record(wait_s, self._attributes)
            elif self._pools.is_timeout(error):
                self._pools.timeouts.add(1, self._attributes)
            if wait_s >= _MIN_SPAN_WAIT_S:
                _tell_span(wait_s)


def _tell_span(wait_s: float) -> None:
    """Add the wait to what the current span has waited before."""
    span = trace.get_current_span()
    if span.is_recording():
        known: Any = (span.attributes if isinstance(span, Span) else None) or {}
        span.set_attribute(_WAIT_TIME, known.get(_WAIT_TIME, 0.0) + wait_s)
