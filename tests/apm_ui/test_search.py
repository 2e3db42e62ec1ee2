"""The query bar's language."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apm_store.query import Outcome, TimeRange, TraceQuery
from apm_ui.filters import Filters, parse_filters
from apm_ui.search import (
    Condition,
    SearchError,
    conditions_to_filters,
    filters_to_conditions,
    format_duration,
    format_search,
    merge,
    parse_duration,
    parse_search,
    trace_query,
)

NOW_NS = 1_764_000_000_000_000_000
RANGE = TimeRange(NOW_NS - 3_600_000_000_000, NOW_NS)
durations = st.integers(0, 2**63 - 1)
words = st.text(min_size=1, max_size=30)
own = st.one_of(
    st.builds(Condition, st.sampled_from(["service", "operation", "statement"]), st.just("="), words),
    st.builds(Condition, st.just("status"), st.just("="), st.sampled_from(["error", "ok", "4xx"])),
    st.builds(Condition, st.just("duration"), st.sampled_from("<>"), durations.map(format_duration)),
)
keys = st.one_of(st.sampled_from(["service", "duration", "http.route", "a b", 'q"', "!no", "a:b"]), words)
attributes = st.builds(
    Condition, keys.filter(lambda key: "=" not in key), st.just("="), st.text(max_size=30), st.just(True)
)
queries = st.tuples(st.lists(own, max_size=6, unique_by=lambda c: c.slot), st.lists(attributes, max_size=6))


@given(queries)
def test_text_and_conditions_are_each_others_inverse(query):
    """What `format_search` writes, `parse_search` reads back unchanged, whatever the words contain."""
    conditions = (*query[0], *query[1])

    assert parse_search(format_search(conditions)) == conditions


@given(queries)
def test_address_and_conditions_are_each_others_inverse(query):
    """Conditions survive the way through the URL's query string; only their order may change."""
    conditions = (*query[0], *query[1])

    filters = conditions_to_filters(conditions, Filters(RANGE))
    again = filters_to_conditions(parse_filters(filters.query_string(), NOW_NS))

    assert sorted(map(str, again)) == sorted(map(str, conditions))


@given(durations)
def test_a_duration_is_exact_in_text(duration_ns):
    """A duration's text means the same nanoseconds."""
    assert parse_duration(format_duration(duration_ns)) == duration_ns


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text):
    """Whatever is typed either parses or raises a SearchError with a sentence."""
    try:
        parse_search(text)
    except SearchError as error:
        assert str(error).endswith((".", "…", "”", "=…."))


@pytest.mark.parametrize(
    ("text", "duration_ns"),
    [
        ("2s", 2_000_000_000),
        ("250ms", 250_000_000),
        ("1m30s", 90_000_000_000),
        ("1.5s", 1_500_000_000),
        ("152us", 152_000),
        ("152µs", 152_000),
        ("7ns", 7),
        ("2h", 7_200_000_000_000),
    ],
)
def test_durations_are_read_in_every_unit(text, duration_ns):
    """Each unit, a fraction and a compound are understood."""
    assert parse_duration(text) == duration_ns


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("duration>2sec", "“2sec” is not a duration. Write 2s, 250ms or 1m30s."),
        ("duration>", "“” is not a duration. Write 2s, 250ms or 1m30s."),
        ("duration>9999999999h", "“9999999999h” is not a duration. Write 2s, 250ms or 1m30s."),
        ("duration=2s", "“duration=2s” needs a side: write duration>2s or duration<2s."),
        ("status=bad", "“bad” is not a status. Write error, ok or 4xx."),
        ("service>a", "“service>a” cannot be searched: service takes “=” alone, as in service=…."),
        ("service=", "“service=” has no value. Write one behind the “=”."),
        ("http.route=", "“http.route=” has no value. Write one behind the “=”."),
        ("db.calls>50", "“db.calls>50” cannot be searched: an attribute takes “=” alone, as in db.calls=…."),
        ("!user.id=1", "“!user.id=1” excludes. Only what a trace has can be searched: leave out the “!”."),
        ("user.id!=1", "“user.id!=1” excludes. Only what a trace has can be searched: leave out the “!”."),
        (
            "checkout",
            "“checkout” is not a condition. Write key=value, for example http.route=/checkout, or duration>500ms.",
        ),
        ('operation="POST', 'The quote that starts at “"POST” is not closed. Write " at its end.'),
        ('a="b"c d=e', '“a="b"c” is not a condition. Write a space between conditions.'),
        ("service=a service=b", "“service=” stands twice. Keep one of them."),
        ('""=x', '“""=x” cannot be searched: an attribute\'s key is not empty and has no “=”.'),
        (" ".join(f"k{i}=v" for i in range(21)), "The query has 21 conditions; 20 are the most."),
        ("x" * 4001, "The query has 4,001 characters; 4,000 are the most."),
    ],
)
def test_a_mistake_is_named_with_its_cure(text, sentence):
    """Each kind of mistake has its own sentence."""
    with pytest.raises(SearchError) as caught:
        parse_search(text)

    assert str(caught.value) == sentence


def test_the_wrong_part_is_known():
    """The error carries the part that is wrong, for the wavy line under it."""
    with pytest.raises(SearchError) as caught:
        parse_search("service=storefront duration>2sec status=error")

    assert caught.value.part == "2sec"


def test_a_whole_query_becomes_a_trace_query():
    """Every condition lands in its field of the TraceQuery."""
    text = (
        'service=storefront operation="POST /checkout" status=error duration>500ms duration<2s '
        'http.route=/checkout "status"=odd statement=abc'
    )

    query = trace_query(parse_search(text), TraceQuery(RANGE))

    assert query == TraceQuery(
        RANGE,
        service="storefront",
        operation="POST /checkout",
        outcome=Outcome.FAILED,
        min_duration_ns=500_000_000,
        max_duration_ns=2_000_000_000,
        attributes=(("http.route", "/checkout"), ("status", "odd")),
        statement_id="abc",
    )


def test_a_newer_condition_takes_the_place_of_the_older_of_its_kind():
    """Typing duration>2s replaces duration>1s and leaves duration<9s and the rest alone."""
    old = parse_search("service=a duration>1s duration<9s x=1")

    merged = merge(old, parse_search("duration>2s x=2"))

    assert format_search(merged) == "service=a duration<9s duration>2s x=2"


@pytest.mark.parametrize(
    "search",
    [
        "?status=5xx",
        "?min_duration_ms=fast",
        "?max_duration_ms=-1",
        "?min_duration_ms=1e9",
        "?attr=novalue",
        "?attr==x",
    ],
)
def test_an_address_with_a_bad_condition_is_refused(search):
    """A parameter that is no condition raises SearchError instead of being ignored."""
    with pytest.raises(SearchError):
        filters_to_conditions(parse_filters(search, NOW_NS))


def test_the_parameters_of_other_pages_links_are_understood():
    """Links made with `with_params` read as conditions."""
    filters = Filters(RANGE, service="s").with_params(
        operation="GET /", status="4xx", min_duration_ms="0.5", attr=["a=1", "b=x=y"], statement="ff"
    )

    conditions = filters_to_conditions(filters)

    assert format_search(conditions) == 'service=s operation="GET /" status=4xx statement=ff duration>500us a=1 b=x=y'


def test_conditions_keep_range_and_the_pages_other_parameters():
    """Writing conditions to the address leaves range, order and view alone."""
    filters = Filters(RANGE, "custom").with_params(order="slowest", status="ok")

    changed = conditions_to_filters(parse_search("service=a"), filters)

    assert changed == Filters(RANGE, "custom", "a", (("order", "slowest"),))
