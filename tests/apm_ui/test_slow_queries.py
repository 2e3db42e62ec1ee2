"""The Slow queries page: what it asks a real store, and what it draws."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from builders import MS, SECOND, make_batch, make_span
from plotly.utils import PlotlyJSONEncoder

from apm_store.model import SpanKind
from apm_store.query import StatementCallers, TimeRange
from apm_ui.components.sql import pretty_sql, short_sql, statement_name
from apm_ui.filters import Filters, parse_filters
from apm_ui.pages import slow_queries
from apm_ui.sources import Sources

NOW_NS = time.time_ns() // SECOND * SECOND
RANGE = TimeRange(NOW_NS - 3600 * SECOND, NOW_NS)
EVIL = "SELECT '<img src=x onerror=window.__x=1>' FROM t"
MOVES = "SELECT id FROM stock_movements WHERE sku = ?"
STOCK = "SELECT qty FROM stock WHERE sku = ?"


@pytest.fixture
def sources(store, tmp_path):
    """The page's sources over an empty store."""
    return Sources(store, tmp_path, otlp_http="127.0.0.1:9", otlp_grpc="127.0.0.1:9")


def call(trace, span, text, ms, *, ago_s=600, parent=0, failed=False):
    """A database client span."""
    attributes = {"db.system.name": "sqlite", "db.query.text": text, "db.namespace": "shop.db"}
    return make_span(
        "SELECT",
        trace=trace,
        span=span,
        parent=parent,
        start_ns=NOW_NS - ago_s * SECOND,
        duration_ns=ms * MS,
        kind=SpanKind.CLIENT,
        failed=failed,
        attributes=attributes,
    )


def write(store, *spans, service="inventory"):
    store.traces.write(make_batch(spans, service))


def load(sources, search="?"):
    return slow_queries.load(sources, parse_filters(f"{search}&start={RANGE.start_ns}&end={RANGE.end_ns}", NOW_NS))


def drawn(model):
    return json.dumps(slow_queries.view(model), cls=PlotlyJSONEncoder, ensure_ascii=False)


def fill(store):
    root = make_span("POST /reserve", trace=1, span=1, start_ns=NOW_NS - 600 * SECOND, duration_ns=500 * MS)
    write(store, root, call(1, 2, MOVES, 400, parent=1), *(call(1, n, STOCK, 10, parent=1) for n in range(3, 13)))
    write(store, call(2, 1, "UPDATE orders SET settled = ?", 20, failed=True), service="worker")


def test_statements_are_ranked_by_total_time(store, sources):
    """The most expensive statement is first, with its calls and their time."""
    fill(store)

    queries = load(sources).queries

    assert [(query.text, query.count, query.total_ns) for query in queries] == [
        (MOVES, 1, 400 * MS),
        (STOCK, 10, 100 * MS),
        ("UPDATE orders SET settled = ?", 1, 20 * MS),
    ]


def test_the_title_states_the_concentration(store, sources):
    """The head says how few statements take most of the time, and the scope how many there are."""
    fill(store)

    text = drawn(load(sources))

    assert "One statement takes 77\u202f% of database time" in text
    assert "3 statements, 12 calls" in text


def test_a_service_narrows_everything(store, sources):
    """With a service chosen only its statements count."""
    fill(store)

    model = load(sources, "?service=worker")

    assert [query.service for query in model.queries] == ["worker"]
    assert "One statement takes all database time" in drawn(model)


def test_the_chosen_statement_opens_the_drawer(store, sources):
    """The drawer has the worst trace, the callers with their coverage, and the way to all its traces."""
    fill(store)
    moves = load(sources).queries[0]

    model = load(sources, f"?statement={moves.statement_id}")

    text = drawn(model)
    assert model.selected is not None
    assert model.selected.query == moves
    assert f"/traces/{1:032x}" in text
    assert f"statement={moves.statement_id}" in text
    assert "Counted over all 1 call." in text
    assert "POST /reserve" in text
    assert "400\u202fms in 1 call" in text


def test_what_was_pruned_of_a_statement_is_said(store, sources):
    """Callers and the worst trace come from raw data; measures stay and nothing is said of them."""
    fill(store)
    statement = load(sources).queries[0].statement_id
    model = load(sources, f"?statement={statement}")
    gone = replace(model.selected, callers=StatementCallers((), 0, 1), worst_span_id="")
    coverage = replace(model.coverage, raw_since_ns=NOW_NS)

    text = drawn(replace(model, coverage=coverage, selected=gone))

    assert "Raw data before" in text
    assert "its trace was pruned" in text
    assert "The entry spans of these calls were pruned with the raw data." in text
    assert "was pruned" not in drawn(model)
    assert "Worst trace, " in drawn(replace(model, coverage=coverage))


def test_the_same_statement_of_two_services_is_told_apart(store, sources):
    """`by` names the service whose row is meant."""
    write(store, call(1, 1, STOCK, 10), service="a")
    write(store, call(2, 1, STOCK, 20), service="b")
    statement_id = load(sources).queries[0].statement_id

    model = load(sources, f"?statement={statement_id}&by=a")

    assert model.selected is not None
    assert model.selected.query.service == "a"


def test_a_statement_without_calls_in_the_range_is_said(store, sources):
    """A stale link draws the page and says that its statement was not called."""
    fill(store)

    model = load(sources, "?statement=0123456789abcdef")

    assert model.selected is None
    assert "The chosen statement was not called in this time range." in drawn(model)


def test_tags_rest_on_facts(store, sources):
    """Slow means a p95 of 100 ms or more; failed names the number."""
    fill(store)

    text = drawn(load(sources))

    assert text.count('"children": "slow"') == 1
    assert text.count('"children": "1 failed"') == 1


def test_no_database_calls_are_explained(store, sources):
    """With spans but no database spans the page says which instrumentations would give them."""
    write(store, make_span("GET /", start_ns=NOW_NS - 60 * SECOND))

    model = load(sources)

    assert model.is_empty
    assert "No service sent database spans" in drawn(model)
    assert "sqlalchemy, sqlite3, psycopg" in drawn(model)


def test_a_store_without_spans_shows_how_to_start(sources):
    """Before the first span the page says that Spanwise listens."""
    assert "No telemetry has arrived yet" in drawn(load(sources))


def test_statement_text_is_never_markup(store, sources):
    """SQL goes as text into components and escaped into figures."""
    write(store, call(1, 1, EVIL, 5))
    write(store, call(2, 1, "UPDATE <b>t</b> SET x = ?", 5))

    model = load(sources, f"?statement={load(sources).queries[0].statement_id}")

    figures = [part for part in slow_queries.view(model)._traverse() if getattr(part, "_type", "") == "Figure"]
    assert len(figures) == 2
    assert all("<b>" not in json.dumps(figure.figure) for figure in figures)
    assert "dangerously_allow_html" not in drawn(model)


def shown(component):
    """The text of a statement block."""
    return "".join(part if isinstance(part, str) else part.children for part in component.children)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select a from t where x in (select y from u)", "select a\nfrom t\nwhere x in (select y from u)"),
        ("SELECT 'a FROM b'  FROM\n t", "SELECT 'a FROM b'\nFROM t"),
        ("<b>not sql</b>", "<b>not sql</b>"),
        ("", ""),
    ],
)
def test_a_statement_has_its_clauses_on_lines(text, expected):
    """Clauses outside parentheses and quotes begin a line; anything else stays text."""
    assert shown(pretty_sql(text)) == expected


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SELECT qty FROM stock WHERE sku = ?", "SELECT stock"),
        ("insert into orders(id) values (?)", "INSERT orders"),
        ("UPDATE orders SET x = ?", "UPDATE orders"),
        ("PRAGMA user_version", "PRAGMA user_version"),
        ("", "empty statement"),
    ],
)
def test_a_statements_name_says_what_it_does_to_which_table(text, name):
    """A short name stands for a statement in legends."""
    assert statement_name(text) == name


def test_filters_without_a_statement_have_no_drawer(store, sources):
    """Closing the drawer is the address without the selection."""
    fill(store)

    model = slow_queries.load(sources, Filters(RANGE, "custom", None, (("statement", ""),)))

    assert model.selected is None
    assert '"type": "Aside"' not in drawn(model)


def test_the_worst_trace_opens_at_the_slowest_call(store, sources):
    """The link to the worst trace selects the span of the slowest call in it."""
    fill(store)
    statement_id = load(sources).queries[1].statement_id
    write(store, call(3, 7, STOCK, 300, parent=1))

    text = drawn(load(sources, f"?statement={statement_id}"))

    assert f"/traces/{3:032x}?" in text
    assert f"span={7:016x}" in text


def test_the_slowest_of_very_many_calls_is_not_looked_up(store, sources, monkeypatch):
    """With more calls than can be searched quickly the worst trace is linked without a span."""
    fill(store)
    statement_id = load(sources).queries[1].statement_id
    monkeypatch.setattr(slow_queries, "MAX_SEARCHED_CALLS", 9)

    assert load(sources, f"?statement={statement_id}").selected.worst_span_id == ""


def test_opening_the_drawer_leaves_the_table_in_place(store, sources):
    """The page has the same parts with and without a chosen statement, so that the browser keeps table and focus."""
    fill(store)
    statement_id = load(sources).queries[0].statement_id

    without, chosen = (
        slow_queries.view(load(sources, search)).children[-1].children for search in ("?", f"?statement={statement_id}")
    )

    assert len(without) == len(chosen) == 2
    assert (without[1].children, len(chosen[1].children)) == ([], 1)


def test_database_time_is_given_per_second(store, sources):
    """520 ms in an hour are 144 µs of database time per second."""
    fill(store)

    assert "144\u202fµs/s" in drawn(load(sources))


def test_what_slow_means_is_said(store, sources):
    """The tag of a statement with a p95 of 100 ms and more says so in its tooltip."""
    fill(store)

    text = drawn(load(sources))

    assert text.count("1 call in 20 takes 100\u202fms or longer") == 1


def test_minutes_without_calls_are_a_gap(store, sources):
    """The chart marks the stretches in which no database call was measured."""
    fill(store)

    assert "no data, " in drawn(load(sources))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT a.id, a.name, a.price_cents, a.kind FROM a WHERE a.id = ?", "SELECT … FROM a WHERE a.id = ?"),
        ("select distinct a.id, a.name, a.price_cents from a", "select distinct … from a"),
        ("SELECT id, sku FROM a", "SELECT id, sku FROM a"),
        ("SELECT (SELECT max(x) FROM b) AS biggest, a.other_name FROM a", None),
        ("UPDATE a SET some_long_column_name = ?", None),
        ("", None),
    ],
)
def test_long_lists_of_columns_are_left_out(text, expected):
    """What is selected makes way for what tells statements apart; other statements stay as they are."""
    assert short_sql(text) == (expected or text)
