"""Moments, durations and sizes as people write them."""

from __future__ import annotations

import argparse
import time

import pytest

from spanwise.files.moments import SECOND_NS, moment_words, parse_duration, parse_moment, parse_size, size_words


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2026-11-01T12:30:00Z", 1_793_536_200 * SECOND_NS),
        ("2026-11-01T12:30:00.000001+00:00", 1_793_536_200 * SECOND_NS + 1000),
        ("2026-11-01T14:30:00+02:00", 1_793_536_200 * SECOND_NS),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_a_moment_with_a_zone_is_that_moment(text: str, nanoseconds: int) -> None:
    """ISO 8601 with Z or an offset means the same everywhere."""
    assert parse_moment(text) == nanoseconds


def test_a_date_is_midnight_here() -> None:
    """A moment without a zone is this machine's time."""
    expected = int(time.mktime((2026, 11, 1, 0, 0, 0, 0, 0, -1))) * SECOND_NS

    assert parse_moment("2026-11-01") == expected
    assert moment_words(expected).startswith("2026-11-01 00:00:00")


def test_a_duration_is_that_long_ago() -> None:
    """`--from 2h` is two hours before now."""
    before_ns = time.time_ns()

    moment_ns = parse_moment("2h")

    assert before_ns <= moment_ns + 7200 * SECOND_NS <= time.time_ns()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("15min", 900), ("2h", 7200), ("7d", 604_800), ("1 w", 604_800)]
)
def test_durations(text: str, seconds: int) -> None:
    """Seconds to weeks."""
    assert parse_duration(text) == seconds * SECOND_NS


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("10", 10), ("2GB", 2 * 10**9), ("500 mb", 5 * 10**8), ("1.5GiB", 3 * 2**29), ("3TB", 3 * 10**12)],
)
def test_sizes(text: str, size: int) -> None:
    """Powers of ten and of two."""
    assert parse_size(text) == size


@pytest.mark.parametrize("parse", [parse_moment, parse_duration, parse_size])
@pytest.mark.parametrize(
    "text", ["", "soon", "-1h", "5 parsecs", "2026-13-01", "0001-01-01", "9999999999999d", "1e9GB"]
)
def test_other_words_are_refused_with_an_example(parse: object, text: str) -> None:
    """What cannot be read says how to write it."""
    with pytest.raises(argparse.ArgumentTypeError, match="write"):
        parse(text)  # type: ignore[operator]


def test_sizes_for_people() -> None:
    """Large sizes are in GB, others in MB."""
    assert (size_words(2_340_000_000), size_words(1_500_000)) == ("2.3 GB", "1.5 MB")
