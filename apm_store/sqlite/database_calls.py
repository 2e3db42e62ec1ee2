"""Finds database calls that two instrumentations saw, such as SQLAlchemy's and the driver's, so each counts once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DatabaseCall:
    """One span of a database call; `statement` is equal for the same statement in the same trace and service."""

    index: int
    statement: tuple[object, ...]
    span_id: bytes
    parent_span_id: bytes
    start_ns: int
    end_ns: int
    scope: str


def seen_twice(calls: Iterable[DatabaseCall]) -> Iterator[int]:
    """The `index` of every call that is another one seen again.

    Of a parent and a child the inner one counts. Of siblings that overlap in time and come from different scopes
    SQLAlchemy's counts, or else the one that started first.
    """
    groups: dict[tuple[object, ...], list[DatabaseCall]] = {}
    for call in calls:
        groups.setdefault(call.statement, []).append(call)
    for group in groups.values():
        if len(group) > 1:
            parents = {call.parent_span_id for call in group if call.parent_span_id != call.span_id}
            yield from (call.index for call in group if call.span_id in parents)
            yield from _siblings(call for call in group if call.span_id not in parents)


def _siblings(calls: Iterable[DatabaseCall]) -> Iterator[int]:
    """The calls of one statement that a sibling from another scope covers; two at once of one scope are two calls."""
    kept: dict[bytes, DatabaseCall] = {}
    for call in sorted(calls, key=lambda call: (call.start_ns, call.index)):
        before = kept.get(call.parent_span_id)
        is_same = before is not None and before.scope != call.scope and call.start_ns <= before.end_ns
        if before is None or not is_same:
            kept[call.parent_span_id] = call
        elif "sqlalchemy" in call.scope and "sqlalchemy" not in before.scope:
            yield before.index
            kept[call.parent_span_id] = call
        else:
            yield call.index
