"""The start-up order of the agent, read aloud: settings, providers, process metrics, enrichments, instrumentations."""

import logging

from otel_agent.guard import guard

_logger = logging.getLogger(__name__)
_is_booted = False


def boot() -> None:
    """Start the agent in this process; a second call does nothing, and no call ever raises."""
    global _is_booted  # noqa: PLW0603 - a process has one agent, whichever of its two doors it came in by
    if _is_booted:
        return
    _is_booted = True
    with guard("start the agent"):
        _start()


def _start() -> None:
    from otel_agent.diagnostics import open_diagnostics
    from otel_agent.environment import service_name_of
    from otel_agent.settings import name_the_service, read_process_environment

    settings, warnings = read_process_environment()
    if settings.is_disabled:
        return
    name_the_service(service_name_of)
    with open_diagnostics(settings.log_level):
        for warning in warnings:
            _logger.warning(warning)
        with guard("start the agent, so this process sends nothing"):
            from otel_agent.enrichments import start_enrichments
            from otel_agent.instrumentations import instrument_libraries, instrument_other_libraries
            from otel_agent.process_metrics import observe_process
            from otel_agent.providers import start_providers

            process_meter = start_providers(settings)
            observe_process(process_meter)
            start_enrichments(settings.disabled_instrumentations)
            instrument_libraries(settings.disabled_instrumentations)
            instrument_other_libraries(settings.disabled_instrumentations)
