"""Finds the spans that meet a question, and of each trace the one that stands for it."""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Iterable
from dataclasses import replace
from itertools import count
from typing import Any

from sqlalchemy import Select, func, null, select

from apm_store.api import StoreTimeoutError
from apm_store.query import TimeRange, TraceQuery
from apm_store.sqlite.bodies import clamp
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.schema import span
from apm_store.sqlite.span_rows import indexed_conditions, row_conditions

_PAGE = 50_000
"""About how many spans are fetched at once, so that those already found are kept when the time is over."""


class Matches:
    """Spans as columns, from the newest to the oldest; the last one of a trace is its matched span.

    `items` are the ids of the spans; `durations_ns` is filled only for questions by duration.
    """

    def __init__(self) -> None:
        self.items = array("q")
        self.durations_ns = array("q")
        self.is_complete = True
        self._matched: dict[str, int] = {}

    def add(self, trace_ids: Collection[str], items: Iterable[int], durations_ns: Iterable[int]) -> None:
        """Add spans that are older than all before; of those that start together the longest comes last."""
        self._matched.update(zip(trace_ids, count(len(self.items))))
        self.items.extend(items)
        self.durations_ns.extend(durations_ns)

    def newest(self) -> list[int]:
        """The positions of the matched spans, one per trace, newest first."""
        return sorted(self._matched.values())


def find_matches(snapshot: Snapshot, query: TraceQuery, share: float) -> Matches:
    """All spans that meet a query without attributes; the newest of them when a share of the time is over first."""
    matches = Matches()
    end_ns: int | None = clamp(query.time_range.end_ns)
    try:
        with snapshot.within(share):
            while end_ns is not None:
                next_end_ns = _page_start(snapshot, query, end_ns)
                start_ns = query.time_range.start_ns if next_end_ns is None else next_end_ns
                page = replace(query, time_range=TimeRange(start_ns, end_ns))
                for trace_ids, items, durations_ns in map(tuple, snapshot.stream(_joined(page))):
                    if trace_ids:
                        matches.add(trace_ids.split(","), _integers(items), _integers(durations_ns))
                end_ns = next_end_ns
    except StoreTimeoutError:
        matches.is_complete = False
    return matches


def _page_start(snapshot: Snapshot, query: TraceQuery, end_ns: int) -> int | None:
    """Where the page that ends at `end_ns` starts; None for the oldest page, which takes all that is left."""
    rest = replace(query, time_range=TimeRange(query.time_range.start_ns, end_ns))
    newest_first = select(span.c.start_ns).where(*indexed_conditions(rest)).order_by(span.c.start_ns.desc())
    rows = snapshot.rows(newest_first.offset(_PAGE).limit(1))
    return rows[0].start_ns if rows else None


def _joined(query: TraceQuery) -> Select[Any]:
    """All matching spans in one row of three texts: with a row per span, each may have to wait for the GIL."""
    columns = [span.c.trace_id, span.c.id, (span.c.duration_ns if query.order == "slowest" else null()).label("ns")]
    newest_first = (span.c.start_ns.desc(), span.c.duration_ns)
    wanted = (*indexed_conditions(query), *row_conditions(query))
    found = select(*columns).where(*wanted).order_by(*newest_first).subquery()
    return select(func.group_concat(func.hex(found.c.trace_id)), *map(func.group_concat, (found.c.id, found.c.ns)))


def _integers(text: str | None) -> Iterable[int]:
    numbers: list[int] = json.loads(f"[{text}]") if text else []  # twice as fast as int() of each
    return numbers
