"""Roll-ups count what sampled spans stand for."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from builders import MS, make_batch, make_span

from apm_store.open import open_store
from apm_store.query import SpanAggregate, TimeRange
from apm_store.sqlite.weights import weight_of

EVER = TimeRange(0, 2**63)


@pytest.mark.parametrize(
    ("trace_state", "weight"),
    [
        ("", 1),
        ("other=th:8", 1),
        ("ot=rv:aabbccddeeff00", 1),
        ("ot=th:0", 1),
        ("ot=th:8", 2),
        ("ot=rv:aabbccddeeff00;th:c", 4),
        ("a=b, ot=th:e;rv:00", 8),
        ("ot=th:ffffffffffffff", 1_000_000),
        ("ot=th:xyz", 1),
    ],
)
def test_a_threshold_says_how_many_spans_one_stands_for(trace_state: str, weight: int) -> None:
    """The weight is 1 without a threshold, else the inverse of the share that was kept."""
    assert weight_of(trace_state, bytes(8)) == weight


def test_fractions_are_right_on_average() -> None:
    """Spans kept with a probability of 30 % stand for three and a third each, within 1 % over 20,000 spans."""
    threshold = f"ot=th:{round(0.7 * 2**56):014x}"
    dice = random.Random(5)

    total = sum(weight_of(threshold, dice.randbytes(8)) for _ in range(20_000))

    assert total / 20_000 == pytest.approx(10 / 3, rel=0.01)


def test_counts_and_durations_are_weighted(tmp_path: Path) -> None:
    """A span that stands for four counts four times, once it is new; one beside it counts once."""
    sampled = make_span("GET /", trace=1, span=1, duration_ns=10 * MS, failed=True)
    sampled.trace_state = "ot=th:c"
    whole = make_span("GET /", trace=2, span=2, duration_ns=30 * MS)
    store = open_store(tmp_path)
    for _ in range(2):
        store.traces.write(make_batch([sampled, whole]))

    [row] = store.traces.aggregate(SpanAggregate(EVER, with_durations=True))
    spans = store.stats().spans
    store.close()
    assert (row.count, row.failed_count, row.duration_sum_ns, row.durations.count) == (5, 4, 70 * MS, 5)
    assert spans == 2
