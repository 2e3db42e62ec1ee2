"""The start-up order of the agent: what comes along, settings, providers, metrics, enrichments, instrumentations."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from otel_agent.guard import guard

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

_logger = logging.getLogger(__name__)
_is_booted = False

# What `spanwise doctor` asks about: why the agent stays away, and the modules that were there before it.
obstacle = ""
modules_before: frozenset[str] = frozenset()


def boot() -> None:
    """Start the agent in this process; a second call does nothing, and no call ever raises."""
    global _is_booted, modules_before  # noqa: PLW0603 - a process has one agent, whichever of its doors it came in by
    if _is_booted:
        return
    _is_booted = True
    modules_before = frozenset(sys.modules)
    with guard("start the agent"):
        _start()


def _start() -> None:
    global obstacle  # noqa: PLW0603 - see above
    from otel_agent.companions import bring_along, own_directories
    from otel_agent.diagnostics import open_diagnostics
    from otel_agent.environment import service_name_of
    from otel_agent.settings import (
        agent_path,
        is_disabled,
        name_the_service,
        process_environment,
        read_process_environment,
    )

    environment = process_environment()
    if is_disabled(environment):
        return
    obstacle = bring_along(agent_path(environment), own_directories(sys.orig_argv[1:], Path.cwd()))
    settings, warnings = read_process_environment()
    name_the_service(service_name_of)
    with open_diagnostics(settings.log_level):
        if obstacle:
            _logger.warning("nothing is recorded: %s", obstacle)
            return
        for warning in warnings:
            _logger.warning(warning)
        with guard("start the agent, so this process sends nothing"):
            from otel_agent.enrichments import start_enrichments
            from otel_agent.instrumentations import instrument_libraries, instrument_other_libraries
            from otel_agent.providers import start_providers

            _observe_process(start_providers(settings), settings.disabled_instrumentations)
            start_enrichments(settings.disabled_instrumentations)
            # OpenTelemetry's own variables about log records set the host's format, which its first record is to have.
            instrument_libraries(settings.disabled_instrumentations, may_wait=not settings.has_log_variables)
            instrument_other_libraries(settings.disabled_instrumentations)


def _observe_process(meter: "Meter", disabled: frozenset[str]) -> None:
    """Start the process metrics, unless psutil is missing: a compiled one cannot come along to every Python."""
    try:
        import psutil  # noqa: F401 - only whether it can be imported here
    except ImportError as error:
        _logger.debug("there are no process metrics: %s", error)
        return
    from otel_agent.process_metrics import observe_process

    observe_process(meter, disabled)
