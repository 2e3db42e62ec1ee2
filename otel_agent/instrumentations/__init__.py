"""The libraries that the agent instruments: one module each, listed in INSTRUMENTATIONS.

Each has `instrument(library)`. A library that the host never imports is never touched. Those in FIRST_CALLS, which
every process has imported, wait until the host uses one of them, imports another library of the list, runs an event
loop, or forks: what instruments them takes longer to load than a small script to run.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from logging import getLogger
from types import ModuleType
from typing import Any

from opentelemetry.util._importlib_metadata import entry_points

from otel_agent.enrichments._running_loops import follow_loops
from otel_agent.first_calls import FirstCalls
from otel_agent.guard import guard
from otel_agent.imports import when_imported

_logger = getLogger(__name__)
_first_calls = FirstCalls()

# The name of each module of this folder, which OTEL_PYTHON_DISABLED_INSTRUMENTATIONS knows it by too, and the module
# whose import it waits for.
INSTRUMENTATIONS = {
    "aiohttp_client": "aiohttp",
    "aiohttp_server": "aiohttp.web",
    "cachetools": "cachetools",
    "celery": "celery.app.base",  # by the time of "celery", gevent and eventlet have not patched the standard library
    "django": "django.core.handlers.base",
    "django_cache": "django.core.cache",
    "fastapi": "fastapi",
    "flask": "flask",
    "flask_caching": "flask_caching",
    "httpx": "httpx",
    "logging": "logging",
    "multiprocessing": "multiprocessing.util",
    "psycopg": "psycopg",
    "psycopg_pool": "psycopg_pool",
    "pymemcache": "pymemcache",
    "pymemcache_cache": "pymemcache.client.base",
    "redis_cache": "redis",  # before redis: its wrapping has to lie inside of the span's
    "redis": "redis",
    "redis_pool": "redis",
    "requests": "requests",
    "sqlalchemy": "sqlalchemy",
    "sqlalchemy_pool": "sqlalchemy",
    "sqlite3": "sqlite3",
    "starlette": "starlette.applications",
    "threading": "threading",
    "urllib3": "urllib3",
}

# The method whose first call begins the use of a library that every process has imported.
FIRST_CALLS = {"logging": ("Logger", "callHandlers"), "threading": ("Thread", "start")}

# Process metrics are the agent's own; the official instrumentor would send every one of them a second time.
_REPLACED = frozenset(f"opentelemetry.instrumentation.{name}" for name in ("system_metrics", *INSTRUMENTATIONS))


def instrument_libraries(disabled: frozenset[str], may_wait: bool = True) -> None:
    """Instrument every library of INSTRUMENTATIONS as soon as the host imports it, or now if it already has.

    Those of FIRST_CALLS wait for their use if they may.
    """
    for name, library in INSTRUMENTATIONS.items():
        # OpenTelemetry writes some names with a hyphen: aiohttp-client.
        if not disabled & {name, name.replace("_", "-"), "*"}:
            when_imported(library, partial(_instrument_when_used if name in FIRST_CALLS else _instrument, name))
    follow_loops(_begin_before_loop)
    if not may_wait:
        _first_calls.begin()


def instrument_other_libraries(disabled: frozenset[str]) -> None:
    """Run the further OpenTelemetry instrumentors that the user has installed, as opentelemetry-instrument would."""
    if "*" in disabled:
        return
    for entry_point in entry_points(group="opentelemetry_instrumentor"):
        if entry_point.name in disabled or entry_point.module in _REPLACED:
            continue
        with guard(f"instrument {entry_point.name}"):
            from opentelemetry.instrumentation.dependencies import DependencyConflictError

            try:
                entry_point.load()().instrument(raise_exception_on_conflict=True)
            except (ModuleNotFoundError, DependencyConflictError) as error:
                _logger.debug("%s is not instrumented: %s", entry_point.name, error)


def _begin_before_loop(_loop: object) -> Callable[[], None]:
    """A loop that runs uses threads and loggers, and must not stand still while what instruments them is loaded."""
    _first_calls.begin()
    return lambda: None


def _instrument(name: str, library: ModuleType) -> None:
    _first_calls.begin()
    _wrap(name, library)


def _instrument_when_used(name: str, library: ModuleType) -> None:
    class_name, method = FIRST_CALLS[name]
    owner: type = getattr(library, class_name)
    _first_calls.wait_for(owner, method, partial(_load, name), partial(_wrap, name, library))


def _wrap(name: str, library: ModuleType) -> None:
    with guard(f"instrument {name}"):
        try:
            _module(name).instrument(library)
        except ModuleNotFoundError as error:  # the app's own OpenTelemetry is used, and lacks this package
            _logger.debug("%s is not instrumented: %s", name, error)


def _load(name: str) -> None:
    with guard(f"load what instruments {name}"), suppress(ModuleNotFoundError):
        _module(name)


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{name}")
