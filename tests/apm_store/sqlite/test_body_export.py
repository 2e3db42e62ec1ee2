"""Stored requests come out as they went in."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builders import SECOND, make_batch, make_span
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from apm_store.api import Store
from apm_store.model import Batch, Signal
from apm_store.open import open_store
from apm_store.query import TimeRange
from apm_store.sqlite.writer import Writer

RANGE = TimeRange(10 * SECOND, 20 * SECOND)


def _batch(start_s: int) -> Batch:
    return make_batch([make_span("GET /", trace=start_s, start_ns=start_s * SECOND)])


@pytest.fixture
def segmented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store that begins a segment for every request."""
    monkeypatch.setattr("apm_store.sqlite.store._open_writer", lambda data_dir, *_: Writer(data_dir, segment_bytes=1))
    store = open_store(tmp_path / "data")
    yield store
    store.close()


def test_requests_come_oldest_first(segmented: Store, make_logs: Callable[..., Batch]) -> None:
    """Those with an item of the signal in the range come by the time of their first one, from whichever segment."""
    for start_s in (15, 9, 11, 20, 12):
        segmented.traces.write(_batch(start_s))
    segmented.logs.write(make_logs([LogRecord(time_unix_nano=13 * SECOND)]))

    bodies = list(segmented.bodies(Signal.TRACES, RANGE))

    assert bodies == [_batch(start_s).body for start_s in (11, 12, 15)]


def test_an_export_holds_nothing_while_it_waits(segmented: Store) -> None:
    """What is stored after the question does not come, and what is removed before its turn is left out."""
    segmented.traces.write(_batch(11))
    segmented.traces.write(_batch(12))
    bodies = segmented.bodies(Signal.TRACES, RANGE)
    segmented.traces.write(_batch(13))
    shutil.rmtree(next(iter(_segments(segmented))))

    assert list(bodies) == [_batch(12).body]


def _segments(store: Store) -> list[Path]:
    return sorted((store._data_dir / "segments").iterdir())  # type: ignore[attr-defined]


def test_a_damaged_request_is_left_out_and_told_of(segmented: Store, caplog: pytest.LogCaptureFixture) -> None:
    """An export goes on behind a damaged request, and a warning says where it lies."""
    for start_s in (11, 12, 13):
        segmented.traces.write(_batch(start_s))
    log = _segments(segmented)[1] / "bodies.log"
    content = bytearray(log.read_bytes())
    content[-3] ^= 0xFF
    log.write_bytes(content)

    with caplog.at_level(logging.WARNING):
        bodies = list(segmented.bodies(Signal.TRACES, RANGE))

    assert bodies == [_batch(11).body, _batch(13).body]
    assert str(log) in caplog.text
