"""The start-up order of the agent: what comes along, settings, providers, metrics, enrichments, instrumentations.

Up to the settings it is done when a process begins; the rest, which takes five times as long, when the host begins to
use something (ADR 017).
"""

import functools
import logging
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from otel_agent.guard import guard

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.metrics import Meter

    from otel_agent.first_use import FirstUse
    from otel_agent.settings import Settings

_logger = logging.getLogger(__name__)
_is_booted = False
_first_use: "FirstUse | None" = None

# Whether there are providers to send by.
is_started = False
# What `spanwise doctor` asks about: why the agent stays away, and the modules that were there before it.
obstacle = ""
modules_before: frozenset[str] = frozenset()

# How old a process becomes that uses nothing, before its metrics are sent all the same.
_START_AGE_S = 1.0
# Python itself looks for these, or the standard library does in vain: that is no use by the host.
_NO_USE = ("sitecustomize", "usercustomize", "apport_python_hook", "org.", "_sysconfigdata")
_LRU_CACHE = "lru_cache"
# The options by which uWSGI lets an app have threads, and what it takes for a no.
_UWSGI_THREADS = ("enable-threads", "threads")
_OFF = frozenset({b"false", b"0", b"off", b"no"})
# Of the standard library, what other instrumentors than the agent's own may wrap.
_OTHERS_WRAP = {"urllib.request"}


def boot() -> None:
    """Start the agent in this process; a second call does nothing, and no call ever raises."""
    boot_when_used()
    with guard("start the agent"):
        if _first_use is not None:
            _first_use.begin()


def boot_when_used() -> None:
    """Start the agent in this process when the host begins to use something; no call ever raises."""
    global _is_booted, _first_use, modules_before  # noqa: PLW0603 - a process has one agent, by whichever of its doors
    if _is_booted:
        return
    _is_booted = True
    modules_before = frozenset(sys.modules)
    with guard("start the agent"):
        settings = _settle()
        if settings is not None:
            _first_use = _wait_for_calls(settings.disabled_instrumentations)
            _wait_for_others(_first_use, settings)


def _settle() -> "Settings | None":
    """Complete the environment, and find what the agent needs; None if it is to stay away."""
    global obstacle  # noqa: PLW0603 - see above
    from otel_agent.companions import bring_along, own_directories
    from otel_agent.diagnostics import open_diagnostics
    from otel_agent.environment import service_name_of
    from otel_agent.settings import (
        agent_path,
        is_disabled,
        leave_process_tree,
        name_the_service,
        process_environment,
        read_process_environment,
    )

    environment = process_environment()
    if is_disabled(environment):
        return None
    obstacle = bring_along(agent_path(environment), own_directories(sys.orig_argv[1:], Path.cwd()))
    settings, warnings = read_process_environment()
    name_the_service(service_name_of)
    leave_process_tree()  # a child may be there before anything is used here
    with open_diagnostics(settings.log_level):
        _say(warnings)
    return None if obstacle else settings


def _say(warnings: "Iterable[str]") -> None:
    """Say what keeps the agent away, or else what its settings are warned of."""
    for warning in [f"nothing is recorded: {obstacle}"] if obstacle else warnings:
        _logger.warning(warning)


def _wait_for_calls(disabled: frozenset[str]) -> "FirstUse":
    """Have the agent started by calls, and start already what has to be started in the main thread."""
    from otel_agent.enrichments import AT_ONCE, start_enrichments
    from otel_agent.first_use import FirstUse, is_call_from_host
    from otel_agent.instrumentations import wait_for_first_calls

    start_enrichments(disabled, AT_ONCE)
    first_use = FirstUse(_start)
    if not disabled & {_LRU_CACHE, "*"}:
        wrap = partial(start_enrichments, disabled, {_LRU_CACHE})
        first_use.at_call(functools, _LRU_CACHE, lambda: None, wrap, is_call_from_host)
    wait_for_first_calls(disabled)
    return first_use


def _wait_for_others(first_use: "FirstUse", settings: "Settings") -> None:
    """Have the agent started by imports and by age, or at once where settings ask for it or a library is there."""
    from otel_agent.enrichments import ENRICHMENTS
    from otel_agent.instrumentations import FIRST_CALLS, INSTRUMENTATIONS

    libraries = {*INSTRUMENTATIONS.values(), *ENRICHMENTS.values(), *_OTHERS_WRAP, "opentelemetry"}
    libraries -= {INSTRUMENTATIONS[name] for name in FIRST_CALLS}
    is_asked_for = settings.log_level is not None or settings.memory_window_s is not None or settings.profiler != "off"
    # OpenTelemetry's own variables about log records set the host's format, which its first record is to have.
    # A program that embeds Python may fork without telling it, which no thread survives: it is the app that begins.
    is_embedded = not sys.orig_argv
    if not is_embedded and (is_asked_for or settings.has_log_variables or libraries & modules_before):
        first_use.begin()
        return

    def is_use(name: str) -> bool:
        top = name.partition(".")[0]
        return name in libraries or (top not in sys.stdlib_module_names and not f"{name}.".startswith(_NO_USE))

    first_use.at_import(is_use)
    first_use.not_after_end()
    if settings.has_metrics and not is_embedded:
        first_use.at_age(_START_AGE_S)


def _is_without_threads() -> bool:
    """Tell whether uWSGI serves this process, and has not been told that its app has threads."""
    options = getattr(sys.modules.get("uwsgi"), "opt", None)
    if not isinstance(options, dict):
        return False
    return all(options.get(name, b"false") in _OFF for name in _UWSGI_THREADS)


def _start() -> bool:
    global is_started, obstacle  # noqa: PLW0603 - see above
    from otel_agent.diagnostics import open_diagnostics
    from otel_agent.settings import read_process_environment

    settings, warnings = read_process_environment()  # the host may have changed it
    if _is_without_threads():
        obstacle = "uWSGI runs without threads of Python; start it with --enable-threads"
    disabled = settings.disabled_instrumentations
    with open_diagnostics(settings.log_level):
        _say(warnings)
        if obstacle:
            return False
        with guard("start the agent, so this process sends nothing"):
            from otel_agent.enrichments import AT_ONCE, ENRICHMENTS, start_enrichments
            from otel_agent.instrumentations import instrument_libraries, instrument_other_libraries
            from otel_agent.providers import start_providers

            meter = start_providers(settings)
            is_started = True
            _observe_process(meter, disabled)
            start_enrichments(disabled, ENRICHMENTS.keys() - AT_ONCE - {_LRU_CACHE})
            instrument_libraries(disabled, may_wait=not settings.has_log_variables)
            instrument_other_libraries(disabled)
    return is_started


def _observe_process(meter: "Meter", disabled: frozenset[str]) -> None:
    """Start the process metrics, unless psutil is missing: a compiled one cannot come along to every Python."""
    try:
        import psutil  # noqa: F401 - only whether it can be imported here
    except ImportError as error:
        _logger.debug("there are no process metrics: %s", error)
        return
    from otel_agent.process_metrics import observe_process

    observe_process(meter, disabled)
