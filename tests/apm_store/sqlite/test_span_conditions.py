"""Rows are picked from columns by their values, whatever the width of a column."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from apm_store.sqlite.span_conditions import rows_with

_WIDTHS = {"B": 8, "H": 16, "I": 32, "Q": 64}


@given(code=st.sampled_from(sorted(_WIDTHS)), data=st.data())
def test_the_rows_with_a_value_are_those_that_hold_it(code: str, data: st.DataObject) -> None:
    """Values whose bytes stand across two others are not taken for it, and one beyond the width is nowhere."""
    numbers = st.sampled_from([0, 1, 255, 256, 257, 0x0101_0101]) | st.integers(0, 2**33)
    values = data.draw(st.lists(numbers.filter(lambda number: number < 1 << _WIDTHS[code]), max_size=40))
    wanted = data.draw(numbers)
    column = memoryview(array(code, values).tobytes()).cast(code)  # type: ignore[call-overload]  # one of the four

    assert rows_with(column, wanted) == [row for row, value in enumerate(values) if value == wanted]
