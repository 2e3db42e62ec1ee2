"""Which questions reach back before the raw data that is kept, and how that is said."""

from __future__ import annotations

import pytest

from apm_store.query import Coverage, TimeRange
from apm_ui.pruned import prune_notice, pruned_before_ns

RANGE = TimeRange(1_000, 2_000)


@pytest.mark.parametrize(
    ("first_ns", "raw_since_ns", "before_ns"),
    [
        (500, None, None),
        (500, 1_500, 1_500),
        (500, 5_000, 5_000),
        (500, 1_000, None),
        (500, 900, None),
        (1_600, 1_500, None),
        (None, 1_500, None),
    ],
    ids=["nothing was", "a part", "all of it", "up to the range", "earlier", "before anything was sent", "empty store"],
)
def test_a_range_is_pruned_where_it_held_something_before(
    first_ns: int | None, raw_since_ns: int | None, before_ns: int | None
) -> None:
    """Only a range that reaches back before the prune, to a time when there were spans, has lost something."""
    coverage = Coverage(RANGE, first_ns, 2_000, 0, 1, raw_since_ns)

    assert pruned_before_ns(coverage) == before_ns


def test_the_notice_has_the_time_in_utc() -> None:
    """Programs show it as it is."""
    said = prune_notice(1_764_000_000_123_000_000)

    assert said == "Raw data before 2025-11-24T16:00:00Z was pruned; counts and durations stay."
    assert prune_notice(None) == ""
