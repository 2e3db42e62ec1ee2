"""Cells that are written again and again are remembered, the others are let go."""

from __future__ import annotations

import pytest

from apm_store.sqlite import hot_cells
from apm_store.sqlite.hot_cells import HotCells


class _Table:
    """Counts how often each cell is read."""

    def __init__(self) -> None:
        self.reads: list[str] = []

    def cell(self, cells: HotCells[str, list[str]], key: str) -> list[str]:
        """Ask for a cell."""
        return cells.cell(key, lambda: self.reads.append(key) or [key])


def test_a_cell_in_use_is_read_once() -> None:
    """It stays the same object, however often the others are let go."""
    table, cells = _Table(), HotCells[str, list[str]]()
    first = table.cell(cells, "hour")
    for _ in range(500):
        cells.end_flush()
        assert table.cell(cells, "hour") is first

    assert table.reads == ["hour"]


def test_a_cell_that_nobody_asks_for_is_let_go() -> None:
    """It outlives one generation and not a second one."""
    table, cells = _Table(), HotCells[str, list[str]]()
    table.cell(cells, "minute")
    for _ in range(2 * hot_cells._KEPT_FLUSHES):
        cells.end_flush()
    table.cell(cells, "minute")

    assert table.reads == ["minute", "minute"]


def test_many_cells_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit those go that were not asked for since the flush before."""
    monkeypatch.setattr(hot_cells, "_MAX_CELLS", 2)
    table, cells = _Table(), HotCells[str, list[str]]()
    for keys in ("abc", "def", "ad"):
        for key in keys:
            table.cell(cells, key)
        cells.end_flush()

    assert "".join(table.reads) == "abcdefa"


def test_after_clear_all_is_read_again() -> None:
    """As it must be when a transaction was undone."""
    table, cells = _Table(), HotCells[str, list[str]]()
    table.cell(cells, "a")
    cells.clear()
    table.cell(cells, "a")

    assert table.reads == ["a", "a"]
