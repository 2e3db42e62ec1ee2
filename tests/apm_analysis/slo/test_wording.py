"""Durations and factors in sentences."""

from __future__ import annotations

import pytest

from apm_analysis.slo.wording import span_text, times_text

S = 1_000_000_000


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (0, "0 s"),
        (59.4 * S, "59 s"),
        (59.6 * S, "1 min"),
        (125 * S, "2 min 05 s"),
        (300 * S, "5 min"),
        (3599.9 * S, "1 h"),
        (12_000 * S, "3 h 20 min"),
        (86_399 * S, "1 d"),
        (367_200 * S, "4 d 6 h"),
        (2_592_000 * S, "30 d"),
    ],
)
def test_a_duration_has_its_two_largest_units(duration_ns: float, text: str) -> None:
    """It is rounded before the unit is chosen; number and unit are joined by a narrow no-break space."""
    assert span_text(duration_ns).replace("\u202f", " ") == text


@pytest.mark.parametrize(
    ("factor", "text"), [(0.9234, "0.923"), (18.24, "18.2"), (999.4, "999"), (999.6, "1,000"), (12345, "12,345")]
)
def test_a_factor_has_three_significant_digits(factor: float, text: str) -> None:
    """Large factors are written in full, never with an exponent."""
    assert times_text(factor) == text
