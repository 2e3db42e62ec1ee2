"""Removes roll-ups that have outlived their use, a little at a time, and gives their space back to the disk."""

from __future__ import annotations

from collections.abc import Iterator

from apm_store.sqlite.catalogue import Catalogue
from apm_store.sqlite.rollups import HOUR_S, SERVICE_STEPS_S, STEPS_S

MINUTES_STAY_S = 35 * 86_400
"""Roll-ups by less than an hour stay 35 days, and as long as there is raw data for them."""

HOURS_STAY_S = 396 * 86_400
"""Roll-ups by hour stay 13 months, and as long as there is raw data for them."""

_TABLES = {
    "service_rollup": SERVICE_STEPS_S,
    "span_rollup": STEPS_S,
    "statement_rollup": STEPS_S,
    "edge_rollup": STEPS_S,
}
_STEPS_AT_ONCE = 60
_VACUUM_PAGES = 1_000


def drop_rollups(catalogue: Catalogue, now_ns: int) -> Iterator[None]:
    """Remove what is too old at a time of the steady clock, in small steps that each leave no transaction open.

    Between two steps others may use the catalogue.
    """
    now_s = now_ns // 1_000_000_000
    for table, steps_s in _TABLES.items():
        for step_s in steps_s:
            first = f"SELECT min(start_s) FROM {table} WHERE step_s = ?"  # noqa: S608 – names from this file
            delete = f"DELETE FROM {table} WHERE step_s = ? AND start_s < ?"  # noqa: S608 – names from this file
            stay_s = HOURS_STAY_S if step_s == HOUR_S else MINUTES_STAY_S
            end_s = min(now_s - stay_s, _raw_since_s(catalogue, now_s))
            while (first_s := _one(catalogue, first, step_s)) is not None and first_s < end_s:
                catalogue.connection.execute(delete, (step_s, min(end_s, first_s + _STEPS_AT_ONCE * step_s)))
                yield
    end_s = min(now_s - HOURS_STAY_S, _raw_since_s(catalogue, now_s))
    if (_one(catalogue, "SELECT min(start_s) FROM minute") or end_s) < end_s:
        catalogue.connection.execute("DELETE FROM minute WHERE start_s < ?", (end_s,))
    while (_one(catalogue, "PRAGMA freelist_count") or 0) > _VACUUM_PAGES:
        if not catalogue.connection.in_transaction:
            catalogue.rows(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
        yield


def _raw_since_s(catalogue: Catalogue, now_s: int) -> int:
    """The start of the hour from which on there is raw data, kept traces aside."""
    first_ns = _one(catalogue, "SELECT min(first_ns) FROM segment WHERE is_kept = 0")
    return now_s if first_ns is None else first_ns // 1_000_000_000 // HOUR_S * HOUR_S


def _one(catalogue: Catalogue, sql: str, *values: object) -> int | None:
    [(value,)] = catalogue.rows(sql, values)
    return value  # type: ignore[return-value]  # the tables are STRICT
