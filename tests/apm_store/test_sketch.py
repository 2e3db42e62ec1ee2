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


@given(st.lists(st.lists(durations), max_size=4), st.floats(min_value=0, max_value=1), durations)
def test_packed_sketches_answer_as_one(parts: list[list[int]], q: float, limit_ns: int) -> None:
    """Many packed sketches tell the same as the sketch of all values, in whatever way they are put together."""
    all_values = _sketch_of([value for part in parts for value in part])
    packed = [_sketch_of(part).to_bytes() for part in parts]
    merged = Sketch()
    for data in packed:
        merged.merge(Sketch.from_many((data,)))

    for sketch in (Sketch.from_many(packed), merged):
        assert (sketch.count, sketch.quantile(q)) == (all_values.count, all_values.quantile(q))
        assert sketch.count_at_most(limit_ns) == all_values.count_at_most(limit_ns)
        assert sketch == all_values


@given(st.lists(durations), st.lists(durations))
def test_what_was_packed_can_be_added_to(packed: list[int], added: list[int]) -> None:
    """Durations that come after a question count in the next answer."""
    sketch = Sketch.from_many((_sketch_of(packed).to_bytes(),))
    asked = sketch.quantile(0.5)
    for value in added:
        sketch.add(value)
    sketch.merge(Sketch.from_many((_sketch_of(packed).to_bytes(),)))

    assert asked == _sketch_of(packed).quantile(0.5)
    assert sketch == _sketch_of(packed + added + packed)
    assert sketch.quantile(0.5) == _sketch_of(packed + added + packed).quantile(0.5)


def test_great_counts_are_unpacked() -> None:
    """Counts beyond 16 and 32 bits survive being read together with small ones."""
    counts = {1_000: 3 * 2**32 + 7, 2_000: 65_536, 3_000: 1}
    sketch = Sketch()
    for duration_ns, count in counts.items():
        sketch.add(duration_ns, count)

    assert Sketch.from_many((sketch.to_bytes(), _sketch_of([3_000]).to_bytes())).buckets == {
        bucket_of(1_000): 3 * 2**32 + 7,
        bucket_of(2_000): 65_536,
        bucket_of(3_000): 2,
    }


def test_an_empty_sketch_has_no_quantiles() -> None:
    """Without durations there is no quantile."""
    assert (Sketch().quantile(0.5), Sketch.from_many(()).quantile(0.5), Sketch().count_at_most(9)) == (None, None, 0)


def test_durations_are_counted_up_to_a_limit() -> None:
    """Durations clearly at or below the limit count, those clearly above do not."""
    sketch = _sketch_of([100, 1_000, 1_000, 2_000])

    assert sketch.count_at_most(1_100) == 3
    assert sketch.count_at_most(50) == 0
