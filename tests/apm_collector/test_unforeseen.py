"""Mistakes of the collector in its log, without a flood."""

from __future__ import annotations

import pytest

from apm_collector.unforeseen import MistakeLog
from apm_store.model import Signal


def test_each_kind_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """A second exception of a type is silent until a minute is over; another type is not."""
    now_s = [100.0]
    log = MistakeLog(lambda: now_s[0])

    log.add(Signal.TRACES, RuntimeError("first"))
    log.add(Signal.TRACES, RuntimeError("silent"))
    log.add(Signal.LOGS, KeyError("other"))
    now_s[0] += 60
    log.add(Signal.TRACES, RuntimeError("again"))

    told = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert told == ["first", "'other'", "again"]
