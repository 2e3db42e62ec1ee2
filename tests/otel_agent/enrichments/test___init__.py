"""The registry of enrichments."""

from importlib import import_module
from pathlib import Path

import pytest

from otel_agent import enrichments
from otel_agent.enrichments import AT_ONCE, ENRICHMENTS


def test_every_file_is_in_the_table():
    """A module of the folder is in ENRICHMENTS, and the other way round, unless it only serves them."""
    files = {path.stem for path in Path(enrichments.__file__).parent.glob("[a-z]*.py")}

    assert set(ENRICHMENTS) == files


@pytest.mark.parametrize("name", ENRICHMENTS)
def test_every_module_starts(name):
    """Each module has what is called when it is to begin."""
    module = import_module(f"otel_agent.enrichments.{name}")

    assert callable(module.start)


def test_what_starts_at_once_waits_for_no_library():
    """The enrichments that start when the process begins are in the table, and start by themselves."""
    assert {ENRICHMENTS[name] for name in AT_ONCE} == {""}
