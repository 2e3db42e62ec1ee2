"""A two-level cache of numbers: this process's memory first, then a table that all processes share."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from sqlalchemy import Engine, select
from sqlalchemy.dialects.sqlite import insert

from demo_app.models import CacheEntry

TTL_S = 120.0


class Cache:
    """Numbers by key, each good for two minutes; `chatty` asks the shared table key by key and forgets its memory."""

    def __init__(self, engine: Engine, *, chatty: bool) -> None:
        self._engine = engine
        self._chatty = chatty
        self._memory: dict[str, tuple[int, float]] = {}

    def get_many(self, keys: Iterable[str]) -> dict[str, int]:
        """The keys that are known and fresh, with their numbers."""
        if self._chatty:
            return {key: value for wanted in keys for key, value in self._ask([wanted]).items()}
        now = time.time()
        found, missing = {}, []
        for key in keys:
            value, expires_at = self._memory.get(key, (0, 0.0))
            if expires_at > now:
                found[key] = value
            else:
                missing.append(key)
        return found | self._ask(missing) if missing else found

    def put_many(self, values: Mapping[str, int]) -> None:
        """Remember these numbers, here and in the shared table."""
        expires_at = time.time() + TTL_S
        rows = [{"key": key, "value": value, "expires_at": expires_at} for key, value in values.items()]
        statement = insert(CacheEntry)
        statement = statement.on_conflict_do_update(
            index_elements=["key"],
            set_={"value": statement.excluded.value, "expires_at": statement.excluded.expires_at},
        )
        with self._engine.begin() as connection:
            connection.execute(statement, rows)
        self._memory.update({key: (value, expires_at) for key, value in values.items()})

    def _ask(self, keys: list[str]) -> dict[str, int]:
        wanted = CacheEntry.key == keys[0] if len(keys) == 1 else CacheEntry.key.in_(keys)
        statement = select(CacheEntry.key, CacheEntry.value, CacheEntry.expires_at).where(
            wanted, CacheEntry.expires_at > time.time()
        )
        with self._engine.connect() as connection:
            rows = connection.execute(statement).all()
        self._memory.update({row.key: (row.value, row.expires_at) for row in rows})
        return {row.key: row.value for row in rows}
