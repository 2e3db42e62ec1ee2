"""Hands out stored requests as they were received."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from pathlib import Path

from apm_store.api import StoreError
from apm_store.model import Signal
from apm_store.query import TimeRange
from apm_store.sqlite.bodies import clamp
from apm_store.sqlite.body_log import LogReader
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.segment_reader import SegmentSnapshot

_PLACES = (
    "SELECT first_ns, offset, length FROM body "
    "WHERE signal = ? AND last_ns >= ? AND first_ns <= ? AND item_count > 0 ORDER BY first_ns, seq"
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the wanted requests of one segment lie in its log, in order of their earliest item."""

    log_path: Path
    first_ns: array[int]
    offsets: array[int]
    lengths: array[int]


def stored_bodies(snapshot: Snapshot, signal: Signal, time_range: TimeRange) -> Iterator[bytes]:
    """The requests with an item in the range, oldest first.

    Only their places are read from the snapshot, which may end before the iteration begins. Requests that are damaged
    or were removed in between are left out; a warning in the log tells of damage.
    """
    first_ns, last_ns = max(0, time_range.start_ns), clamp(time_range.end_ns - 1)
    segments = snapshot.segments(first_ns, last_ns, signal)
    return _read([_places(segment, (signal.value, first_ns, last_ns)) for segment in reversed(segments)])


def _places(segment: SegmentSnapshot, parameters: tuple[str, int, int]) -> _Places:
    places = _Places(segment.log_path, array("q"), array("q"), array("q"))
    for first_ns, offset, length in segment.stream(_PLACES, parameters):
        places.first_ns.append(first_ns)
        places.offsets.append(offset)
        places.lengths.append(length)
    return places


def _read(segments: Sequence[_Places]) -> Iterator[bytes]:
    """The requests at these places, whichever segment they lie in, oldest first."""
    logs: dict[int, LogReader | None] = {}
    order = merge(*(_numbered(number, places) for number, places in enumerate(segments)))
    try:
        for _, number, at in order:
            one = segments[number]
            if number not in logs:
                logs[number] = _open(one.log_path)
            log = logs[number]
            if log is not None:
                try:
                    yield log.body(one.offsets[at], one.lengths[at])
                except StoreError as error:
                    _log.warning("%s", error)
    finally:
        for log in logs.values():
            if log is not None:
                log.close()


def _numbered(number: int, places: _Places) -> Iterator[tuple[int, int, int]]:
    for at, first_ns in enumerate(places.first_ns):
        yield first_ns, number, at


def _open(path: Path) -> LogReader | None:
    try:
        return LogReader(path)
    except FileNotFoundError:
        return None
