"""Remembers cells of a roll-up table that were written lately, because most of them grow again within a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

_KEPT_FLUSHES = 60  # about a minute: cells of one that is over are seldom written again
_MAX_CELLS = 10_000  # about 10 MB, and twice as much with those from before

_Key = TypeVar("_Key")
_Cell = TypeVar("_Cell")


class HotCells(Generic[_Key, _Cell]):
    """Cells by key, each with all that the table holds of it; one that is not asked for in a while is let go."""

    def __init__(self) -> None:
        self._recent: dict[_Key, _Cell] = {}
        self._former: dict[_Key, _Cell] = {}
        self._flushes = 0

    def cell(self, key: _Key, read: Callable[[], _Cell]) -> _Cell:
        """The cell of a key, which `read` gets when it is not remembered; who adds to it writes it to the table."""
        found = self._recent.get(key)
        if found is None:
            found = self._former.pop(key, None)
            if found is None:
                found = read()
            self._recent[key] = found
        return found

    def end_flush(self) -> None:
        """Let go of what was not asked for lately; called after each flush of the table."""
        self._flushes += 1
        if self._flushes >= _KEPT_FLUSHES or len(self._recent) > _MAX_CELLS:
            self._former, self._recent = self._recent, {}
            self._flushes = 0

    def clear(self) -> None:
        """Forget all."""
        self._recent.clear()
        self._former.clear()
