"""Shorter ways through OpenTelemetry than its own, each taken only where the installed version is what it expects.

They change nothing that is sent. `fast_paths` in OTEL_PYTHON_DISABLED_INSTRUMENTATIONS leaves them all out.
"""

import logging
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

from otel_agent.imports import when_imported

NAME = "fast_paths"
# Modules with an `install()`, which raises one of _MISFITS where the version is another.
_MODULES = ("lean_spans", "lean_measurements", "span_encoding", "metric_encoding")
# The same for packages that are imported only where they are needed: `install(package)`.
_MODULES_OF_PACKAGES = {
    "opentelemetry.instrumentation.flask": "lean_flask",
    "opentelemetry.instrumentation.asgi": "lean_asgi",
    "opentelemetry.instrumentation.fastapi": "lean_routes",
    "opentelemetry.instrumentation.starlette": "lean_routes",
}
_MISFITS = (ImportError, AttributeError, TypeError, LookupError)

_logger = logging.getLogger(__name__)


def take_fast_paths(disabled: frozenset[str]) -> None:
    """Install them, unless they are switched off."""
    if NAME in disabled:
        return
    for module in _MODULES:
        _install(module)
    for package, module in _MODULES_OF_PACKAGES.items():
        when_imported(package, _hook(module))


def _hook(module: str) -> Callable[[ModuleType], None]:
    return lambda package: _install(module, package)


def _install(module: str, *packages: ModuleType) -> None:
    try:
        import_module(f"otel_agent.{module}").install(*packages)
    except _MISFITS as error:
        _logger.debug("%s takes the long way: %s", module, error)
