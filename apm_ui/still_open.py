"""Finds the requests that have not ended, from the records that the agent sends of open spans."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from apm_analysis import open_spans
from apm_store.api import Store
from apm_store.model import Span
from apm_store.query import MINUTE_NS, LogQuery, TimeRange
from apm_ui.filters import Filters

MAX_RECORDS = 500
BACK_NS = 15 * MINUTE_NS
# Most records are of slow spans that have ended since; to look up whether one has takes about a millisecond.
LOOKUP_S = 0.02
MAX_KEPT = 10_000

_Key = tuple[str, str]  # trace id, span id


@dataclass(frozen=True, slots=True)
class StillOpen:
    """One open span of each trace, the root-most, longest open first; not complete when some were not looked at."""

    spans: tuple[Span, ...]
    is_complete: bool


class StillOpenFinder:
    """Finds open spans in one store for all threads; whether a span has ended is looked up within a budget of time.

    Half of it goes to those known to be open, in turn, the rest to new ones; a span that has ended is not asked again.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._finished: dict[_Key, None] = {}
        self._open: dict[_Key, float] = {}  # when each was last looked up

    def find(self, now_ns: int, service: str | None = None) -> StillOpen | None:
        """What is open by the newest records of the last quarter of an hour; None if nothing. Raises StoreError."""
        recent = TimeRange(now_ns - BACK_NS, now_ns + MINUTE_NS)
        query = LogQuery(recent, service=service, event_name=open_spans.EVENT_NAME, limit=MAX_RECORDS)
        records = self._store.logs.find(query)
        spans = open_spans.open_spans(records)
        with self._lock:
            is_all = self._look_up(spans)
            found = [span for span in spans if _key(span) in self._open]
        if not found:
            return None
        return StillOpen(tuple(open_spans.root_most(found)), is_all and len(records) < MAX_RECORDS)

    def _look_up(self, spans: Sequence[Span]) -> bool:
        """Learn which spans have ended; false when the time was too short for all."""
        began_s = time.monotonic()
        known = sorted((span for span in spans if _key(span) in self._open), key=lambda span: self._open[_key(span)])
        self._look_up_until(began_s + LOOKUP_S / 2, known)
        open_traces = {span.trace_id for span in known if _key(span) in self._open}
        new = [span for span in open_spans.outer_first(spans) if _key(span) not in self._finished]
        is_all = self._look_up_until(began_s + LOOKUP_S, [span for span in new if span.trace_id not in open_traces])
        for kept in (self._finished, self._open):
            while len(kept) > MAX_KEPT:
                del kept[next(iter(kept))]
        return is_all

    def _look_up_until(self, until_s: float, spans: Sequence[Span]) -> bool:
        """Look up one span after the other, at least one; of a trace with an open one no more."""
        answered: set[str] = set()
        for place, span in enumerate(spans):
            if span.trace_id in answered:
                continue
            now_s = time.monotonic()
            if place and now_s > until_s:
                return False
            if self._store.traces.get_span(span.trace_id, span.span_id) is None:
                self._open[_key(span)] = now_s
                answered.add(span.trace_id)
            else:
                self._finished[_key(span)] = None
                self._open.pop(_key(span), None)
        return True


def _key(span: Span) -> _Key:
    return span.trace_id, span.span_id


_FINDERS: WeakKeyDictionary[Store, StillOpenFinder] = WeakKeyDictionary()


def find_still_open(store: Store, filters: Filters, now_ns: int) -> StillOpen | None:
    """What is open of the service asked for; None if nothing, and in ranges of the past. Raises StoreError."""
    return finder_of(store).find(now_ns, filters.service) if filters.range_name != "custom" else None


def finder_of(store: Store) -> StillOpenFinder:
    """The one finder of a store."""
    finder = _FINDERS.get(store)
    return finder or _FINDERS.setdefault(store, StillOpenFinder(store))
