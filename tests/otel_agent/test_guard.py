"""The one place that swallows."""

import logging

import pytest

from otel_agent import guard as guard_module
from otel_agent.guard import guard


def test_fault_is_swallowed_and_warned_of_once(caplog, monkeypatch):
    """The first fault of an action is a warning, the next a debug record, and neither reaches the host."""
    monkeypatch.setattr(guard_module, "_reported", set())
    logger = logging.getLogger("otel_agent")
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.DEBUG, "otel_agent"):
        for _ in range(2):
            with guard("count to three"):
                raise LookupError("two")

    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "could not count to three: LookupError: two"),
        ("DEBUG", "could not count to three: LookupError: two"),
    ]


def test_strict_guard_raises(monkeypatch):
    """Told to be strict, the guard lets a fault through."""
    monkeypatch.setattr(guard_module, "is_strict", True)

    with pytest.raises(LookupError), guard("count to three"):
        raise LookupError


def test_interrupt_passes():
    """Ctrl-C belongs to the host."""
    with pytest.raises(KeyboardInterrupt), guard("count to three"):
        raise KeyboardInterrupt
