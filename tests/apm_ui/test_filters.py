"""The query string and the filters it stands for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from apm_ui.filters import FilterError, default_range, parse_filters

SECOND = 1_000_000_000
NOW_NS = 1_800_000_000 * SECOND


@pytest.mark.parametrize(
    ("age_s", "name"), [(0, "5m"), (300, "5m"), (301, "15m"), (900, "15m"), (901, "1h"), (10**6, "1h")]
)
def test_a_young_store_is_shown_with_a_short_range(age_s, name):
    """The smallest of three ranges that reaches back to the first span, at most an hour."""
    assert default_range(NOW_NS - age_s * SECOND, NOW_NS) == name


def test_an_empty_store_is_shown_with_an_hour():
    """Without a first span there is nothing to fit."""
    assert default_range(None, NOW_NS) == "1h"


def test_links_leave_an_implied_range_out():
    """An address without a range stays without one, whatever the range stands for now."""
    filters = parse_filters("?service=shop&tab=x", NOW_NS, default_range="5m")

    assert (filters.range_name, filters.time_range.duration_ns) == ("5m", 300 * SECOND)
    assert filters.is_default_range
    assert filters.query_string() == "?service=shop&tab=x"


@pytest.mark.parametrize("search", ["?range=1h", "?range=5m", "?start=5&end=9", "?range=1h&service=a%26b&x=1&x=2"])
def test_what_the_address_names_is_kept(search):
    """A named range stays in the links even where it is the default at the moment."""
    filters = parse_filters(search, NOW_NS, default_range="5m")

    assert not filters.is_default_range
    assert filters.query_string() == search


def test_a_chosen_range_is_named():
    """Choosing a range, the default one too, makes it part of the address; its end stays."""
    filters = parse_filters("", NOW_NS, default_range="5m")

    chosen = filters.with_range("5m")

    assert (chosen.query_string(), chosen.time_range) == ("?range=5m", filters.time_range)
    assert filters.with_range("1d").time_range.duration_ns == 86_400 * SECOND
    assert replace(filters, range_name="1d").query_string() == "?range=1d"


@pytest.mark.parametrize("search", ["?range=2x", "?start=9&end=5", "?start=-1", "?start=99999999999999999999"])
def test_what_cannot_be_read_is_an_error(search):
    """The message repeats the value."""
    with pytest.raises(FilterError, match=r"2x|9 and ends at 5|-1|9{20}"):
        parse_filters(search, NOW_NS)
