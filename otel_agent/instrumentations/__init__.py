"""The libraries that the agent instruments: one module each, listed in INSTRUMENTATIONS.

Each has `instrument(library)`. A library that the host never imports is never touched. Those in FIRST_CALLS, which
every process has imported, wait until the host uses one of them, imports another library of the list, or runs an
event loop: what instruments them imports modules that gevent has to patch before.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from logging import getLogger
from types import ModuleType
from typing import Any

from otel_agent.enrichments._running_loops import follow_loops
from otel_agent.first_use import FirstUse
from otel_agent.guard import guard
from otel_agent.imports import when_imported

_logger = getLogger(__name__)

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


def _boot() -> bool:
    from otel_agent import boot

    boot.boot()
    return boot.is_started


_first_calls = FirstUse(_boot)


def wait_for_first_calls(disabled: frozenset[str]) -> None:
    """Instrument the libraries of FIRST_CALLS when the host first uses them, and boot before that."""
    for name, (class_name, method) in FIRST_CALLS.items():
        if not _is_disabled(name, disabled):
            library = sys.modules[INSTRUMENTATIONS[name]]
            owner: type = getattr(library, class_name)
            _first_calls.at_call(owner, method, partial(_load, name), partial(_wrap, name, library))


def instrument_libraries(disabled: frozenset[str], may_wait: bool = True) -> None:
    """Instrument every other library of INSTRUMENTATIONS as soon as the host imports it, or now if it already has.

    Those of FIRST_CALLS are instrumented now as well unless they may wait.
    """
    for name, library in INSTRUMENTATIONS.items():
        if name not in FIRST_CALLS and not _is_disabled(name, disabled):
            when_imported(library, partial(_instrument, name))
    follow_loops(_begin_before_loop)
    if not may_wait:
        _first_calls.begin()


def instrument_other_libraries(disabled: frozenset[str]) -> None:
    """Run the further OpenTelemetry instrumentors that the user has installed, as opentelemetry-instrument would."""
    if "*" in disabled:
        return
    from opentelemetry.util._importlib_metadata import entry_points

    for entry_point in entry_points(group="opentelemetry_instrumentor"):
        if entry_point.name in disabled or entry_point.module in _REPLACED:
            continue
        with guard(f"instrument {entry_point.name}"):
            from opentelemetry.instrumentation.dependencies import DependencyConflictError

            try:
                entry_point.load()().instrument(raise_exception_on_conflict=True)
            except (ModuleNotFoundError, DependencyConflictError) as error:
                _logger.debug("%s is not instrumented: %s", entry_point.name, error)


def _is_disabled(name: str, disabled: frozenset[str]) -> bool:
    return bool(disabled & {name, name.replace("_", "-"), "*"})  # OpenTelemetry writes some with a hyphen


def _begin_before_loop(_loop: object) -> Callable[[], None]:
    """A loop that runs uses threads and loggers, and must not stand still while what instruments them is loaded."""
    _first_calls.begin()
    return lambda: None


def _instrument(name: str, library: ModuleType) -> None:
    _first_calls.begin()
    _wrap(name, library)


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
