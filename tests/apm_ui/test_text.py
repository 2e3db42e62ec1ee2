"""Numbers, times and ids as the reader sees them."""

from __future__ import annotations

from datetime import datetime

import pytest

from apm_ui.components import text

SECOND = 10**9
# Noon of a fixed day in local time, whatever the zone is.
NOW_NS = int(datetime(2026, 11, 24, 12, 0, 40).timestamp()) * SECOND  # noqa: DTZ001  # local time is meant


def plain(shown):
    """The text with ordinary spaces, so that a test can be read."""
    return shown.replace("\u202f", " ")


@pytest.mark.parametrize(
    ("ns", "shown"),
    [
        (None, "–"), (0, "0 ms"), (812, "812 ns"), (999.6, "1.00 µs"), (152_000, "152 µs"), (7_800_000, "7.80 ms"),
        (412 * 10**6, "412 ms"), (999_600_000, "1.00 s"), (1.84 * SECOND, "1.84 s"), (59.94 * SECOND, "59.9 s"),
        (59.97 * SECOND, "1 min"), (125 * SECOND, "2 min 05 s"), (300 * SECOND, "5 min"),
        (12_000 * SECOND, "3 h 20 min"),
        (3599.8 * SECOND, "1 h"), (367_200 * SECOND, "4 d 6 h"), (30 * 86_400 * SECOND, "30 d"),
        (-5_000_000, "−5.00 ms"),
    ],
)  # fmt: skip
def test_a_duration_has_three_digits_and_the_unit_of_its_size(ns, shown):
    """The unit is chosen after rounding."""
    assert plain(text.duration(ns)) == shown


@pytest.mark.parametrize(
    ("n", "shown"),
    [(None, "–"), (0, "0"), (150_480, "150,480"), (999_999, "999,999"), (3_100_000, "3.10 M"), (2.5e9, "2.50 G")],
)
def test_a_count_is_full_below_a_million(n, shown):
    """Commas to 999,999, then three digits."""
    assert plain(text.count(n)) == shown


@pytest.mark.parametrize(
    ("share", "decimals", "shown"),
    [
        (None, 2, "–"), (0, 2, "0 %"), (1, 2, "100 %"), (0.0006, 2, "0.06 %"), (0.0908, 2, "9.08 %"),
        (0.99542, 3, "99.542 %"),
        (0.00001, 2, "<0.01 %"), (0.999999, 2, ">99.99 %"), (0.084, 1, "8.4 %"), (-0.12, 1, "−12.0 %"),
        (-17.667, 1, "−1,767 %"),
    ],
)  # fmt: skip
def test_a_percentage_never_rounds_to_none_or_all(share, decimals, shown):
    """Only an exact 0 or 1 is shown as 0 % or 100 %."""
    assert plain(text.percent(share, decimals)) == shown


@pytest.mark.parametrize(
    ("per_second", "noun", "shown"),
    [
        (41.8, "req", "41.8 req/s"),
        (0.04, "", "2.40 /min"),
        (0, "req", "0 req/s"),
        (None, "", "–"),
        (418, "spans", "418 spans/s"),
    ],
)
def test_a_rare_rate_is_per_minute(per_second, noun, shown):
    """Below 0.1 per second the rate is told per minute."""
    assert plain(text.rate(per_second, noun)) == shown


def test_burn_bytes_and_ids_follow_the_same_rule():
    """Three digits, decimal bytes, the first eight digits of an id."""
    shown = [
        text.burn(18.2),
        text.burn(0.92),
        text.burn(0),
        text.bytes_(34_100_000),
        text.bytes_(999),
        text.short_id("8f2c41d7aa"),
    ]

    assert [plain(one) for one in shown] == ["18.2×", "0.92×", "0×", "34.1 MB", "999 B", "8f2c41d7…"]


@pytest.mark.parametrize(
    ("ago_s", "at", "since"),
    [
        (0, "12:00:40", "now"),
        (40, "12:00:00", "40 s ago"),
        (90, "11:59:10", "1 min ago"),
        (-180, "12:03:40", "in 3 min"),
    ],
)
def test_a_moment_of_today_shows_seconds(ago_s, at, since):
    """Today's times have seconds; how long ago they were stands beside them."""
    moment_ns = NOW_NS - ago_s * SECOND

    assert (text.clock(moment_ns, NOW_NS), plain(text.relative(moment_ns, NOW_NS))) == (at, since)


def test_a_moment_of_another_day_shows_its_date():
    """Beyond today the day is told, beyond this year the year, beyond 48 h no distance."""
    days_12, year = NOW_NS - 12 * 86_400 * SECOND, NOW_NS - 400 * 86_400 * SECOND

    assert text.clock(days_12, NOW_NS) == text.relative(days_12, NOW_NS) == "12 Nov 12:00"
    assert text.clock(year, NOW_NS) == "20 Oct 2025 12:00"


def test_a_range_names_the_days_it_needs():
    """Within today times are enough."""
    assert text.resolved_range(NOW_NS - 3600 * SECOND, NOW_NS, NOW_NS) == "11:00–12:00"
    assert text.resolved_range(NOW_NS - 86_400 * SECOND, NOW_NS, NOW_NS) == "23 Nov 12:00–24 Nov 12:00"
