"""URL query string ↔ Filters: every view is a link."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, quote, urlencode

from apm_store.query import TimeRange

RANGES: dict[str, int] = {
    "5m": 300,
    "15m": 900,
    "1h": 3600,
    "6h": 21_600,
    "1d": 86_400,
    "7d": 604_800,
    "30d": 2_592_000,
}
DEFAULT_RANGE = "1h"
# What a young store is shown with, shortest first; a store older than the last of them is shown with that one.
_YOUNG_RANGES = ("5m", "15m", DEFAULT_RANGE)
_SECOND_NS = 1_000_000_000
_MAX_NS = 2**63 - 1
_DIGITS = re.compile(r"\d{1,19}", re.ASCII)


class FilterError(ValueError):
    """A part of the URL's query string does not say what it should; the message names it and the cure."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What the reader chose. `range_name` is a key of RANGES, or "custom" for a fixed `start` and `end`.

    `params` are the page's own parameters in order; a key may stand more than once. `implied_range` is the range that
    stood for the one which the address left out; None when the address named one.
    """

    time_range: TimeRange
    range_name: str = DEFAULT_RANGE
    service: str | None = None
    params: tuple[tuple[str, str], ...] = ()
    implied_range: str | None = DEFAULT_RANGE

    @property
    def is_default_range(self) -> bool:
        """Whether the range follows the store's age, so that links leave it out."""
        return self.range_name == self.implied_range

    def get(self, key: str) -> str | None:
        """The first value of a page parameter; None when it is absent or empty."""
        return next((value for name, value in self.params if name == key and value), None)

    def get_all(self, key: str) -> list[str]:
        """Every value of a page parameter, in order."""
        return [value for name, value in self.params if name == key and value]

    def with_params(self, **changes: str | Iterable[str] | None) -> Filters:
        """The same filters with page parameters set, or removed where None; a list gives the key several times."""
        kept = [(name, value) for name, value in self.params if name not in changes]
        for name, change in changes.items():
            values = [change] if isinstance(change, str) else list(change or ())
            kept += [(name, value) for value in values]
        return replace(self, params=tuple(kept))

    def with_range(self, name: str) -> Filters:
        """The same filters over a named range (a key of RANGES) with the same end; links say its name."""
        return replace(self, range_name=name, time_range=_ending(self.time_range.end_ns, name), implied_range=None)

    def only_shared(self) -> Filters:
        """The filters that go along from page to page: range and service."""
        return replace(self, params=())

    def query_string(self) -> str:
        """The filters as `?key=value…`, or "" when all are defaults; the inverse of `parse_filters`."""
        pairs: list[tuple[str, str]] = []
        if self.range_name == "custom":
            pairs += [("start", str(self.time_range.start_ns)), ("end", str(self.time_range.end_ns))]
        elif not self.is_default_range:
            pairs.append(("range", self.range_name))
        if self.service:
            pairs.append(("service", self.service))
        pairs += self.params
        return "?" + urlencode(pairs, quote_via=quote) if pairs else ""

    def link(self, path: str) -> str:
        """A link to `path` that keeps these filters."""
        return path + self.query_string()


def default_range(first_ns: int | None, now_ns: int) -> str:
    """The smallest range for young stores that reaches back to a store's first span at `first_ns`, at most one hour."""
    if first_ns is None:
        return DEFAULT_RANGE
    reaching = (name for name in _YOUNG_RANGES if _ending(now_ns, name).start_ns <= first_ns)
    return next(reaching, DEFAULT_RANGE)


def parse_filters(search: str | None, now_ns: int, *, default_range: str = DEFAULT_RANGE) -> Filters:
    """Read a URL's query string (with or without "?"). `now_ns` resolves ranges that end now.

    `default_range` is what stands for a range that is not named. Raises FilterError.
    """
    pairs = parse_qsl((search or "").lstrip("?"), keep_blank_values=False, max_num_fields=200)
    known = dict(reversed(pairs))
    time_range, range_name = _time_range(known, now_ns, default_range)
    params = tuple((name, value) for name, value in pairs if name not in {"start", "end", "range", "service"})
    implied_range = None if known.keys() & {"start", "end", "range"} else default_range
    return Filters(time_range, range_name, known.get("service"), params, implied_range)


def _time_range(known: dict[str, str], now_ns: int, default_name: str) -> tuple[TimeRange, str]:
    if "start" in known or "end" in known:
        start_ns, end_ns = _ns("start", known.get("start", "0")), _ns("end", known.get("end", str(now_ns)))
        if start_ns >= end_ns:
            raise FilterError(f"The range starts at {start_ns} and ends at {end_ns}: it must end after it starts.")
        return TimeRange(start_ns, end_ns), "custom"
    name = known.get("range", default_name)
    if name not in RANGES:
        raise FilterError(f"“{name}” is not a range. Write one of {', '.join(RANGES)}, or start and end.")
    return _ending(now_ns, name), name


def _ending(end_ns: int, name: str) -> TimeRange:
    return TimeRange(end_ns - RANGES[name] * _SECOND_NS, end_ns)


def _ns(key: str, text: str) -> int:
    if not _DIGITS.fullmatch(text) or int(text) > _MAX_NS:
        raise FilterError(
            f"“{text}” is not a time for {key}. Write nanoseconds since 1970, for example 1764000000000000000."
        )
    return int(text)
