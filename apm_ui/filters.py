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
_MAX_NS = 2**63 - 1
_DIGITS = re.compile(r"\d{1,19}", re.ASCII)


class FilterError(ValueError):
    """A part of the URL's query string does not say what it should; the message names it and the cure."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What the reader chose. `range_name` is a key of RANGES, or "custom" for a fixed `start` and `end`.

    `params` are the page's own parameters in order; a key may stand more than once.
    """

    time_range: TimeRange
    range_name: str = DEFAULT_RANGE
    service: str | None = None
    params: tuple[tuple[str, str], ...] = ()

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

    def only_shared(self) -> Filters:
        """The filters that go along from page to page: range and service."""
        return replace(self, params=())

    def query_string(self) -> str:
        """The filters as `?key=value…`, or "" when all are defaults; the inverse of `parse_filters`."""
        pairs: list[tuple[str, str]] = []
        if self.range_name == "custom":
            pairs += [("start", str(self.time_range.start_ns)), ("end", str(self.time_range.end_ns))]
        elif self.range_name != DEFAULT_RANGE:
            pairs.append(("range", self.range_name))
        if self.service:
            pairs.append(("service", self.service))
        pairs += self.params
        return "?" + urlencode(pairs, quote_via=quote) if pairs else ""

    def link(self, path: str) -> str:
        """A link to `path` that keeps these filters."""
        return path + self.query_string()


def parse_filters(search: str | None, now_ns: int) -> Filters:
    """Read a URL's query string (with or without "?"). `now_ns` resolves ranges that end now.

    Raises FilterError.
    """
    pairs = parse_qsl((search or "").lstrip("?"), keep_blank_values=False, max_num_fields=200)
    known = dict(reversed(pairs))
    time_range, range_name = _time_range(known, now_ns)
    params = tuple((name, value) for name, value in pairs if name not in {"start", "end", "range", "service"})
    return Filters(time_range, range_name, known.get("service"), params)


def _time_range(known: dict[str, str], now_ns: int) -> tuple[TimeRange, str]:
    if "start" in known or "end" in known:
        start_ns, end_ns = _ns("start", known.get("start", "0")), _ns("end", known.get("end", str(now_ns)))
        if start_ns >= end_ns:
            raise FilterError(f"The range starts at {start_ns} and ends at {end_ns}: it must end after it starts.")
        return TimeRange(start_ns, end_ns), "custom"
    name = known.get("range", DEFAULT_RANGE)
    if name not in RANGES:
        raise FilterError(f"“{name}” is not a range. Write one of {', '.join(RANGES)}, or start and end.")
    return TimeRange(now_ns - RANGES[name] * 1_000_000_000, now_ns), name


def _ns(key: str, text: str) -> int:
    if not _DIGITS.fullmatch(text) or int(text) > _MAX_NS:
        raise FilterError(
            f"“{text}” is not a time for {key}. Write nanoseconds since 1970, for example 1764000000000000000."
        )
    return int(text)
