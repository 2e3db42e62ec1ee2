"""Sketches answer within 1 %, whatever was merged in whatever order."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apm_store.sketch import RELATIVE_ERROR, Sketch, bucket_of, bucket_value

durations = st.integers(min_value=0, max_value=2**63 - 1)


def _sketch_of(values: list[int]) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


@given(st.integers(min_value=2, max_value=2**63 - 1))
def test_a_bucket_stands_for_its_durations_within_1_percent(duration_ns: int) -> None:
    """The value of a duration's bucket differs from it by at most 1 %."""
    assert bucket_value(bucket_of(duration_ns)) == pytest.approx(duration_ns, rel=RELATIVE_ERROR * 1.0001)


@given(st.lists(durations, min_size=1), st.floats(min_value=0, max_value=1))
def test_a_quantile_is_within_1_percent(values: list[int], q: float) -> None:
    """A quantile differs by at most 1 % from the value at its rank."""
    exact = sorted(values)[math.floor(q * (len(values) - 1))]

    assert _sketch_of(values).quantile(q) == pytest.approx(exact, rel=RELATIVE_ERROR * 1.0001, abs=1)


@given(st.lists(durations), st.lists(durations))
def test_merging_equals_adding_all(left: list[int], right: list[int]) -> None:
    """Two merged sketches equal the sketch of all values."""
    merged = _sketch_of(left)
    merged.merge(_sketch_of(right))

    assert merged == _sketch_of(left + right)
    assert merged.count == len(left) + len(right)


@given(st.lists(durations))
def test_packing_loses_nothing(values: list[int]) -> None:
    """A sketch survives the way through bytes."""
    sketch = _sketch_of(values)

    assert Sketch.from_bytes(sketch.to_bytes()) == sketch


def test_counts_beyond_32_bits_are_packed() -> None:
    """A bucket may count more than 2^32 durations."""
    sketch = Sketch()
    sketch.add(1_000, 3 * 2**32 + 7)

    assert Sketch.from_bytes(sketch.to_bytes()).count == 3 * 2**32 + 7


def test_an_empty_sketch_has_no_quantiles() -> None:
    """Without durations there is no quantile."""
    assert Sketch().quantile(0.5) is None


def test_durations_are_counted_up_to_a_limit() -> None:
    """Durations clearly at or below the limit count, those clearly above do not."""
    sketch = _sketch_of([100, 1_000, 1_000, 2_000])

    assert sketch.count_at_most(1_100) == 3
    assert sketch.count_at_most(50) == 0
