"""The registry of instrumentations."""

from importlib import import_module
from pathlib import Path

import pytest

from otel_agent import instrumentations
from otel_agent.instrumentations import FIRST_CALLS, INSTRUMENTATIONS


def test_every_file_is_in_the_table():
    """A module of the folder is in INSTRUMENTATIONS, and the other way round, under its own name."""
    files = {path.stem for path in Path(instrumentations.__file__).parent.glob("*.py")} - {"__init__"}

    assert set(INSTRUMENTATIONS) == files
    assert set(FIRST_CALLS) <= set(INSTRUMENTATIONS)


@pytest.mark.parametrize("name", INSTRUMENTATIONS)
def test_every_module_instruments(name):
    """Each module can be loaded where its library is not imported, and has what is called then."""
    module = import_module(f"otel_agent.instrumentations.{name}")

    assert callable(module.instrument)


@pytest.mark.parametrize(("name", "method"), FIRST_CALLS.items())
def test_every_first_call_is_one_of_its_library(name, method):
    """The method that is waited for is there, in the very class that is named."""
    owner = getattr(import_module(INSTRUMENTATIONS[name]), method[0])

    assert callable(vars(owner)[method[1]])


def test_log_variables_of_opentelemetry_hold_for_the_first_record(sink, run_host):
    """A format that OpenTelemetry is asked to set is there before the host writes anything."""
    script = "import logging\nlogging.warning('one')"

    outcome = run_host(
        script,
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
        OTEL_PYTHON_LOG_CORRELATION="true",
        OTEL_PYTHON_LOG_FORMAT="%(message)s of %(otelServiceName)s",
    )

    assert outcome.err == "one of host\n"
