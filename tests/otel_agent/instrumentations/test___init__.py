"""The registry of instrumentations."""

from pathlib import Path

from otel_agent import instrumentations
from otel_agent.instrumentations import INSTRUMENTATIONS


def test_every_file_is_in_the_tuple():
    """A module of the folder is in INSTRUMENTATIONS, and the other way round, under its own name."""
    files = {path.stem for path in Path(instrumentations.__file__).parent.glob("*.py")} - {"__init__"}

    assert {instrumentation.NAME for instrumentation in INSTRUMENTATIONS} == files
    assert all(callable(instrumentation.instrument) and instrumentation.LIBRARY for instrumentation in INSTRUMENTATIONS)
