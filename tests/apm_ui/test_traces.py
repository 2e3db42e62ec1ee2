"""The Traces page: what it asks a real store, and what it draws."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from builders import MS, SECOND, make_batch, make_span
from dash import Dash, html
from plotly.utils import PlotlyJSONEncoder
from runtime_records import make_log_batch, make_open_record

from apm_store.model import SpanKind
from apm_store.query import StatementAggregate, TimeRange
from apm_ui import still_open
from apm_ui.components.text import clock
from apm_ui.filters import FilterError, Filters, parse_filters
from apm_ui.pages import traces
from apm_ui.sources import Sources

NOW_NS = time.time_ns() // SECOND * SECOND
RANGE = TimeRange(NOW_NS - 3600 * SECOND, NOW_NS)
EVIL = '<img src=x onerror="window.__x=1"><a href="//evil">x</a>'


@pytest.fixture
def sources(store, tmp_path):
    """The page's sources over an empty store."""
    return Sources(store, tmp_path, otlp_http="127.0.0.1:9", otlp_grpc="127.0.0.1:9")


def write(store, *spans, service="shop"):
    store.traces.write(make_batch(spans, service))


def request(trace, name="GET /", *, ago_s=600, ms=10, status=200, failed=False, **attributes):
    """A root server span."""
    start_ns = NOW_NS - ago_s * SECOND
    found = {"http.response.status_code": status, **attributes}
    return make_span(
        name, trace=trace, span=trace, start_ns=start_ns, duration_ns=ms * MS, failed=failed, attributes=found
    )


def load(sources, search=""):
    return traces.load(sources, Filters(RANGE, "custom", None, ()) if not search else filters(search))


def filters(search):
    return parse_filters(f"{search}&start={RANGE.start_ns}&end={RANGE.end_ns}", NOW_NS)


def drawn(model):
    return json.dumps(traces.view(model), cls=PlotlyJSONEncoder)


def ids(model):
    return [int(row.trace_id, 16) for row in model.rows]


def fill(store):
    write(
        store,
        request(1, "POST /checkout", ago_s=500, ms=1840, status=502, failed=True, **{"user.id": "u1"}),
        request(2, "POST /checkout", ago_s=400, ms=704, status=201),
        request(3, "GET /cart", ago_s=300, ms=12, status=404),
        service="storefront",
    )
    write(store, request(4, "POST /reserve", ago_s=200, ms=300), service="inventory")


def pruned(model, raw_since_ns):
    """The model as it is when raw data before a time was pruned."""
    return replace(model, coverage=replace(model.coverage, raw_since_ns=raw_since_ns))


def test_a_list_says_what_was_pruned_of_its_range(store, sources):
    """A strip above the list; no strip when the range lies behind the prune."""
    fill(store)
    model = load(sources)

    part = drawn(pruned(model, NOW_NS - 300 * SECOND))

    assert f"Raw data before {clock(NOW_NS - 300 * SECOND, model.now_ns)} was pruned." in part
    assert "Counts and durations stay" in part
    assert "no data" not in part
    assert "no data" in drawn(model)
    assert "was pruned" not in drawn(pruned(model, RANGE.start_ns))
    assert "was pruned" not in drawn(model)


def test_an_empty_list_says_that_its_traces_were_pruned(store, sources):
    """A range that is pruned as a whole is not passed off as one without traffic."""
    write(store, request(1, ago_s=7200))
    model = load(sources)

    text = drawn(pruned(model, NOW_NS + SECOND))

    assert "The traces of this time range were pruned" in text
    assert "their numbers are still in every chart and SLO" in text
    assert "No traces in this time range" not in text
    assert "No traces in this time range" in drawn(pruned(model, NOW_NS - SECOND))


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("?", [4, 3, 2, 1]),
        ("?service=storefront", [3, 2, 1]),
        ("?operation=POST%20%2Fcheckout", [2, 1]),
        ("?status=error", [1]),
        ("?status=4xx", [3]),
        ("?status=ok", [4, 2]),
        ("?min_duration_ms=300", [4, 2, 1]),
        ("?max_duration_ms=300", [4, 3]),
        ("?min_duration_ms=500&max_duration_ms=1000", [2]),
        ("?attr=user.id=u1", [1]),
        ("?order=slowest", [1, 2, 4, 3]),
        ("?service=storefront&status=ok&attr=http.response.status_code=201", [2]),
    ],
)
def test_exactly_the_traces_that_meet_the_query_are_listed(store, sources, search, expected):
    """Each URL parameter narrows the list as it says, in the order that it says."""
    fill(store)

    assert ids(load(sources, search)) == expected


def test_a_row_sums_up_its_trace(store, sources):
    """A row has the root's operation, the self time by service, and counts of spans and errors."""
    root = request(1, "POST /checkout", ms=100)
    child = make_span(
        "SELECT stock",
        trace=1,
        span=9,
        parent=1,
        start_ns=root.start_time_unix_nano + 10 * MS,
        duration_ns=60 * MS,
        kind=SpanKind.CLIENT,
        failed=True,
    )
    write(store, root, service="storefront")
    write(store, child, service="inventory")

    row = load(sources).rows[0]

    assert (row.operation, row.matched_operation) == ("POST /checkout", "")
    assert row.self_times == (("inventory", 60 * MS), ("storefront", 40 * MS))
    assert (row.span_count, row.error_count) == (2, 1)


def test_a_row_names_the_span_that_matched_inside_the_trace(store, sources):
    """A search for another service's requests shows whose root they belong to."""
    root = request(1, "POST /checkout", ms=100)
    child = make_span("POST /reserve", trace=1, span=9, parent=1, start_ns=root.start_time_unix_nano)
    write(store, root, service="storefront")
    write(store, child, service="inventory")

    row = load(sources, "?service=inventory").rows[0]

    assert (row.operation, row.matched_operation) == ("POST /checkout", "POST /reserve")
    assert f"span={9:016x}" in drawn(load(sources, "?service=inventory"))


def test_a_facets_counts_ignore_its_own_condition(store, sources):
    """With a service chosen the other services keep their counts; operations count within the service."""
    fill(store)

    service, operation, outcome = load(sources, "?service=storefront").facets

    assert [(value.text, value.count) for value in service.values] == [("storefront", 3), ("inventory", 1)]
    assert [(value.text, value.count) for value in operation.values] == [("POST /checkout", 2), ("GET /cart", 1)]
    assert [(value.text, value.count) for value in outcome.values] == [("Failed", 1), ("4xx", 1), ("OK", 1)]


def test_a_facet_counts_under_the_other_facets_conditions(store, sources):
    """With an outcome chosen, services and operations count only such requests."""
    fill(store)

    service, operation, _ = load(sources, "?status=error").facets

    assert [(value.text, value.count) for value in service.values] == [("storefront", 1)]
    assert [(value.text, value.count) for value in operation.values] == [("POST /checkout", 1)]


def test_a_long_facet_is_bounded(store, sources):
    """The top values stand open, the next ones under "N more", and the rest are only counted."""
    write(store, *(request(n, f"GET /{n:03}", ago_s=n) for n in range(1, 61)))

    text = drawn(load(sources))

    assert '"children": "52 more"' in text
    assert "12 others: write one in the search." in text


def test_the_title_is_the_finding(store, sources):
    """The page's head says how many traces there are and how many of them failed."""
    fill(store)

    assert "4 traces, 1 of them failed" in drawn(load(sources))


def test_a_capped_list_says_so_and_offers_more(store, sources):
    """With more traces than rows the strip names both numbers and leads to the next size."""
    write(store, *(request(n, ago_s=n) for n in range(1, 151)))

    text = drawn(load(sources))

    assert "Showing 100 of 150 traces." in text
    assert "rows=250" in text
    assert len(load(sources, "?rows=250").rows) == 150


def test_the_condition_that_removes_the_last_traces_is_named(store, sources):
    """When nothing matches, the page says which condition to take away and what would be found."""
    fill(store)

    model = load(sources, "?service=storefront&min_duration_ms=5000")

    assert model.blocker is not None
    assert (str(model.blocker.condition), model.blocker.total) == ("duration>5s", 3)
    assert "the slowest took 1.84\\u202fs" in drawn(model)


def test_a_store_without_spans_shows_how_to_start(sources):
    """Before the first span the page says that Spanwise listens, and where."""
    model = load(sources)

    assert model.is_empty
    assert "No telemetry has arrived yet" in drawn(model)


def test_a_range_without_traces_names_the_newest_span(store, sources):
    """An empty range is no first start: the page offers a wider range."""
    write(store, request(1, ago_s=3 * 86_400))

    text = drawn(load(sources))

    assert "No traces in this time range" in text
    assert "range=1d" in text


@pytest.mark.parametrize("search", ["?status=5xx", "?min_duration_ms=2sec", "?attr=x"])
def test_a_bad_condition_in_the_address_is_explained(store, sources, search):
    """The page stays usable: it names the mistake and offers to remove it."""
    fill(store)

    model = load(sources, search)

    assert model.rows == ()
    assert str(model.problem) in json.dumps(traces.view(model), cls=PlotlyJSONEncoder, ensure_ascii=False)
    assert "Remove all conditions" in drawn(model)


@pytest.mark.parametrize("search", ["?order=random", "?rows=1000000", "?rows=-1", "?view=3d"])
def test_a_choice_that_there_is_not_is_refused(store, sources, search):
    """Order, number of rows and chart are bounded to what the page offers."""
    with pytest.raises(FilterError):
        load(sources, search)


@pytest.mark.parametrize("view", ["scatter", "histogram"])
def test_service_text_is_never_markup(store, sources, view):
    """Names from telemetry go as plain text into components, and escaped into figures."""
    write(store, request(1, EVIL, ms=5, **{"http.route": EVIL}), service=EVIL)

    page = traces.view(load(sources, f"?view={view}"))

    figures = [part for part in page._traverse() if getattr(part, "_type", "") == "Figure"]
    assert figures
    assert all("<img" not in json.dumps(figure.figure) for figure in figures)
    assert "dangerously_allow_html" not in json.dumps(page, cls=PlotlyJSONEncoder)


def test_points_carry_what_a_click_opens(store, sources):
    """Each point of the scatter has its trace id."""
    fill(store)

    page = traces.view(load(sources))

    figure = next(part for part in page._traverse() if getattr(part, "_type", "") == "Figure")
    opened = [point for group in figure.figure["data"] for point in group["customdata"]]
    assert sorted(int(trace_id, 16) for trace_id in opened) == [1, 2, 3, 4]


def call_search(sources, typed, address):
    """Submit the query bar as the browser does."""
    app = Dash("test", suppress_callback_exceptions=True)
    app.layout = html.Div()
    traces.callbacks(app, sources)
    body = {
        "output": "..shell-url.search...traces-problem.children...traces-bar.className..",
        "outputs": [
            {"id": "shell-url", "property": "search"},
            {"id": "traces-problem", "property": "children"},
            {"id": "traces-bar", "property": "className"},
        ],
        "inputs": [
            {"id": "traces-query", "property": "n_submit", "value": 1},
            {"id": "traces-search", "property": "n_clicks", "value": None},
        ],
        "changedPropIds": ["traces-query.n_submit"],
        "state": [
            {"id": "traces-query", "property": "value", "value": typed},
            {"id": "shell-url", "property": "search", "value": address},
        ],
    }
    with app.server.test_client() as client:
        return client.post("/_dash-update-component", json=body).get_json()["response"]


def test_what_is_typed_becomes_the_address(sources):
    """Submitted conditions join those in the address; a newer one replaces the older of its kind."""
    answer = call_search(sources, "duration>2s http.route=/checkout", "?range=6h&service=a&min_duration_ms=1")

    assert answer["shell-url"]["search"] == ("?range=6h&service=a&attr=http.route%3D%2Fcheckout&min_duration_ms=2000")


def test_a_typing_mistake_is_shown_at_its_place(sources):
    """The bar gets its red border, the sentence, and the wrong part underlined; the address stays."""
    answer = call_search(sources, "service=storefront duration>2sec", "?range=6h")

    problem = json.dumps(answer["traces-problem"]["children"], ensure_ascii=False)
    assert "“2sec” is not a duration. Write 2s, 250ms or 1m30s." in problem
    assert '{"props": {"children": "2sec"}, "type": "U"' in problem
    assert answer["traces-bar"]["className"] == "query has-problem"
    assert "shell-url" not in answer


def test_a_row_without_its_root_is_named_by_the_span_that_matched(store, sources):
    """While the root has not arrived, name, status and duration are all those of the entry span."""
    start_ns = NOW_NS - 600 * SECOND
    client = make_span(
        "SELECT", trace=1, span=2, parent=9, start_ns=start_ns, duration_ns=MS, kind=SpanKind.CLIENT, attributes={}
    )
    server = make_span("POST /charge", trace=1, span=3, parent=9, start_ns=start_ns + MS, duration_ns=5 * MS)
    write(store, client, server)

    row = load(sources, "?operation=POST%20%2Fcharge").rows[0]

    assert (row.operation, row.matched_operation, row.matched.duration_ns) == ("POST /charge", "", 5 * MS)


def test_a_trace_whose_later_spans_match_too_is_shown_as_its_root(store, sources):
    """Of several entry spans of a trace the row and the point are those of the root."""
    root = request(1, "POST /checkout", ms=700, status=502, failed=True)
    inner = make_span(
        "POST /charge", trace=1, span=2, parent=1, start_ns=root.start_time_unix_nano + 10 * MS, duration_ns=20 * MS
    )
    write(store, root, inner)

    model = load(sources)

    assert [(row.operation, row.matched_operation, row.matched.http_status) for row in model.rows] == [
        ("POST /checkout", "", 502)
    ]
    assert [point.duration_ns for point in model.found.points] == [700 * MS]


def test_a_stretch_without_traces_is_marked_when_all_are_drawn(store, sources):
    """Empty parts of the chart are gaps of data only when no condition leaves traces out."""
    fill(store)

    assert "no data, " in drawn(load(sources))
    assert "no data, " not in drawn(load(sources, "?service=storefront"))


def test_a_statement_is_named_in_its_chip(store, sources):
    """The chip of a statement says what the statement does, instead of its id."""
    attributes = {"db.system.name": "sqlite", "db.query.text": "SELECT qty FROM stock WHERE sku = ?"}
    start_ns = NOW_NS - 600 * SECOND
    write(store, make_span("SELECT", trace=1, span=1, start_ns=start_ns, kind=SpanKind.CLIENT, attributes=attributes))
    statement_id = store.traces.aggregate_statements(StatementAggregate(RANGE))[0].statement_id

    model = load(sources, f"?statement={statement_id}")

    assert ids(model) == [1]
    assert '"SELECT stock"' in drawn(model)


def test_points_have_no_more_digits_than_a_chart_can_show(store, sources):
    """A duration of 12.345678 ms is drawn as 12.35 ms, one below 10 µs as it is."""
    start_ns = NOW_NS - 600 * SECOND
    write(store, make_span("GET /", trace=1, span=1, start_ns=start_ns, duration_ns=12_345_678))
    write(store, make_span("GET /", trace=2, span=1, start_ns=start_ns, duration_ns=1_234))

    assert '"y": [1234, 12350000]' in drawn(load(sources)) or '"y": [12350000, 1234]' in drawn(load(sources))


def hang(store, *, trace=90, open_s=13, name="POST /hangs"):
    """A record of a span that was open until now."""
    place = ("/srv/shop/payments/gateway.py", 88, "authorize")
    start_ns = time.time_ns() - open_s * SECOND
    record = make_open_record(name, trace=trace, start_ns=start_ns, open_ns=open_s * SECOND, place=place)
    store.logs.write(make_log_batch([record]))


def load_now(sources, search=""):
    return traces.load(sources, parse_filters(search, time.time_ns()))


def test_requests_still_open_stand_above_the_list(store, sources):
    """Operation, service, how long, where, and the way to the trace."""
    fill(store)
    hang(store)

    text = drawn(load_now(sources))

    for words in ("Still open", "1 request", "POST /hangs", "payments/gateway.py:88 in authorize", "13.0\\u202fs"):
        assert words in text
    assert f"/traces/{90:032x}" in text


def test_at_most_five_open_requests_are_listed(store, sources, monkeypatch):
    """More than five are counted, and the five that are open longest are shown."""
    monkeypatch.setattr(still_open, "LOOKUP_S", 10.0)
    fill(store)
    for number in range(7):
        hang(store, trace=90 + number, open_s=10 + number, name=f"GET /hang-{number}")
    model = load_now(sources)

    text = drawn(model)

    assert len(model.still_open.spans) == 7
    assert "5 of 7 requests, longest first" in text
    assert "GET /hang-6" in text
    assert "GET /hang-1" not in text


def test_nothing_open_is_not_mentioned(store, sources):
    """Without an open request, and in ranges of the past, there is no strip."""
    fill(store)
    without = drawn(load_now(sources))
    hang(store)

    assert "Still open" not in without
    assert load(sources).still_open is None


def test_an_open_request_before_any_has_ended(store, sources):
    """A store that has only heard of open spans is not taken for one that nothing has arrived in."""
    hang(store)
    model = load_now(sources)

    text = drawn(model)

    assert not model.is_empty
    assert "POST /hangs" in text
    assert "none has ended yet" in text
