"""The libraries that the agent instruments: one module each, listed in INSTRUMENTATIONS.

Each has a NAME (as in OTEL_PYTHON_DISABLED_INSTRUMENTATIONS), a LIBRARY (the module whose import it waits for) and
`instrument(library)`. A library that the host never imports is never touched.
"""

from collections.abc import Callable
from logging import getLogger
from types import ModuleType
from typing import Protocol, cast

from opentelemetry.instrumentation.dependencies import DependencyConflictError
from opentelemetry.util._importlib_metadata import entry_points
from wrapt import register_post_import_hook

from otel_agent.guard import guard
from otel_agent.instrumentations import (
    aiohttp_client,
    aiohttp_server,
    cachetools,
    celery,
    django,
    django_cache,
    fastapi,
    flask,
    flask_caching,
    httpx,
    logging,
    multiprocessing,
    psycopg,
    psycopg_pool,
    pymemcache,
    pymemcache_cache,
    redis,
    redis_cache,
    redis_pool,
    requests,
    sqlalchemy,
    sqlalchemy_pool,
    sqlite3,
    starlette,
    threading,
    urllib3,
)

_logger = getLogger(__name__)


class Instrumentation(Protocol):
    """What a module of this folder must have."""

    NAME: str
    LIBRARY: str

    def instrument(self, library: ModuleType) -> None:
        """Instrument the library, which has just been imported."""


INSTRUMENTATIONS = cast(
    "tuple[Instrumentation, ...]",
    (
        aiohttp_client,
        aiohttp_server,
        cachetools,
        celery,
        django,
        django_cache,
        fastapi,
        flask,
        flask_caching,
        httpx,
        logging,
        multiprocessing,
        psycopg,
        psycopg_pool,
        pymemcache,
        pymemcache_cache,
        redis_cache,  # before redis: its wrapping has to lie inside of the span's
        redis,
        redis_pool,
        requests,
        sqlalchemy,
        sqlalchemy_pool,
        sqlite3,
        starlette,
        threading,
        urllib3,
    ),
)

# Process metrics are the agent's own; the official instrumentor would send every one of them a second time.
_REPLACED = frozenset(
    f"opentelemetry.instrumentation.{name}"
    for name in ("system_metrics", *(instrumentation.NAME for instrumentation in INSTRUMENTATIONS))
)


def instrument_libraries(disabled: frozenset[str]) -> None:
    """Instrument every library of INSTRUMENTATIONS as soon as the host imports it, or now if it already has."""
    for instrumentation in INSTRUMENTATIONS:
        # OpenTelemetry writes some names with a hyphen: aiohttp-client.
        if not disabled & {instrumentation.NAME, instrumentation.NAME.replace("_", "-"), "*"}:
            register_post_import_hook(_hook(instrumentation), instrumentation.LIBRARY)


def instrument_other_libraries(disabled: frozenset[str]) -> None:
    """Run the further OpenTelemetry instrumentors that the user has installed, as opentelemetry-instrument would."""
    if "*" in disabled:
        return
    for entry_point in entry_points(group="opentelemetry_instrumentor"):
        if entry_point.name in disabled or entry_point.module in _REPLACED:
            continue
        with guard(f"instrument {entry_point.name}"):
            try:
                entry_point.load()().instrument(raise_exception_on_conflict=True)
            except (ModuleNotFoundError, DependencyConflictError) as error:
                _logger.debug("%s is not instrumented: %s", entry_point.name, error)


def _hook(instrumentation: Instrumentation) -> Callable[[ModuleType], None]:
    def hook(library: ModuleType) -> None:
        with guard(f"instrument {instrumentation.NAME}"):
            try:
                instrumentation.instrument(library)
            except ModuleNotFoundError as error:  # the app's own OpenTelemetry is used, and lacks this package
                _logger.debug("%s is not instrumented: %s", instrumentation.NAME, error)

    return hook
