"""The trace page: what it loads, what it says, and the route of the waterfall's columns."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import MS, SECOND, make_batch, make_span
from dash import Dash, html
from dash.development.base_component import Component
from runtime_records import make_log_batch, make_log_record, make_open_record, make_samples_record

from apm_store.api import Store
from apm_ui.components.text import clock
from apm_ui.filters import Filters, parse_filters
from apm_ui.pages import trace
from apm_ui.sources import Sources

TRACE = "1".zfill(32)
T0 = 1_000 * SECOND
NOW = 1_100 * SECOND
ASSETS = Path(trace.__file__).parents[1] / "assets"
NNBSP = "\u202f"


@pytest.fixture
def sources(store: Store, tmp_path: Path) -> Sources:
    """A store and an empty directory of objectives."""
    return Sources(store, tmp_path)


def make_filters(trace_id: str = TRACE, **params: str) -> Filters:
    """The filters of the trace page's address."""
    return parse_filters("", NOW).with_params(trace_id=trace_id, **params)


def write_checkout(store: Store, *, failed: bool = True) -> None:
    """A checkout of 1.84 s whose bank call of 400 ms fails."""
    shop = [
        make_span(
            "POST /checkout",
            span=1,
            start_ns=T0,
            duration_ns=1_840 * MS,
            failed=failed,
            attributes={"http.response.status_code": 502},
        )
    ]
    call = make_span("POST bank", span=2, parent=1, start_ns=T0 + 100 * MS, duration_ns=400 * MS, failed=failed)
    call.status.message = "bank answered 503" if failed else ""
    store.traces.write(make_batch(shop, "storefront"))
    store.traces.write(make_batch([call], "payments"))


def walk(component: Any) -> list[Any]:
    """A component, all components below it, and all texts, in order."""
    if isinstance(component, (list, tuple)):
        return [found for child in component for found in walk(child)]
    if not isinstance(component, Component):
        return [] if component is None else [str(component)]
    return [component, *walk(getattr(component, "children", None))]


def shown(sources: Sources, filters: Filters) -> str:
    """All texts of the page in order, as one."""
    return "".join(part for part in walk(trace.view(trace.load(sources, filters))) if isinstance(part, str))


def properties(sources: Sources, filters: Filters, name: str) -> list[Any]:
    """A property of all components of the page that have it."""
    parts = (part for part in walk(trace.view(trace.load(sources, filters))) if isinstance(part, Component))
    values = (part.to_plotly_json()["props"].get(name) for part in parts)
    return [value for value in values if value is not None]


def test_the_title_is_the_finding(sources: Sources) -> None:
    """A failed root is said with its duration, and its status code beside it."""
    write_checkout(sources.store)

    text = shown(sources, make_filters())

    assert f"POST /checkout failed after 1.84{NNBSP}s" in text
    assert "502" in text
    assert "2 spans, 2 services, 2 errors" in text
    assert "complete" in text
    assert TRACE in text


def test_a_start_long_ago_is_said_once(sources: Sources) -> None:
    """For a trace of another day its age would be its date again."""
    write_checkout(sources.store)

    assert shown(sources, make_filters()).count("1970") == 1


def test_a_good_trace_took_its_time(sources: Sources) -> None:
    """Without a failure the title says how long it took, and the summary that nothing failed."""
    write_checkout(sources.store, failed=False)

    text = shown(sources, make_filters())

    assert f"POST /checkout took 1.84{NNBSP}s" in text
    assert "no errors" in text
    assert "Nothing failed in 2 spans." in text


def test_the_summary_names_the_deepest_failure_and_the_self_time(sources: Sources) -> None:
    """Two sentences: where it failed and why, and which service used the time."""
    write_checkout(sources.store)

    text = shown(sources, make_filters())

    assert f"payments failed in POST bank after 400{NNBSP}ms: bank answered 503." in text
    assert "It lies deepest of 2 failed spans." in text
    assert f"storefront took 1.44{NNBSP}s of its own time, 78{NNBSP}% of all" in text


def test_the_self_time_bar_adds_up(sources: Sources) -> None:
    """The parts of the bar are in proportion and together are the total beside it."""
    write_checkout(sources.store)

    text = shown(sources, make_filters())
    widths = [style["flex"] for style in properties(sources, make_filters(), "style") if "flex" in style]

    assert widths == [f"{1_440 * MS} 1 0", f"{400 * MS} 1 0"]
    assert f"Self time by service1.84{NNBSP}s" in text


def test_missing_parents_are_said(sources: Sources) -> None:
    """A trace with orphans is not called complete."""
    sources.store.traces.write(make_batch([make_span("root", span=1), make_span("lost", span=5, parent=9)]))

    text = shown(sources, make_filters())

    assert "1 span names a parent that has not arrived" in text
    assert "complete" not in text


def test_a_missing_root_is_said_in_the_title(sources: Sources) -> None:
    """What stands for the trace is not passed off as its root."""
    sources.store.traces.write(make_batch([make_span("lost", span=5, parent=9)]))

    assert "its root has not arrived" in shown(sources, make_filters())


def test_an_unknown_trace_says_what_may_be_the_reason(sources: Sources) -> None:
    """A trace without spans has a panel with its reasons and a way on."""
    text = shown(sources, make_filters("f" * 32))

    assert trace.load(sources, make_filters("f" * 32)).is_empty
    assert "No span of this trace is here" in text
    assert "pruned" not in text
    assert "Search the traces" in text


def test_after_a_prune_an_unknown_trace_may_have_been_pruned(sources: Sources) -> None:
    """The page says since when raw data is kept, and what is left of what was before."""
    model = trace.load(sources, make_filters("f" * 32))

    parts = walk(trace.view(replace(model, raw_since_ns=T0, now_ns=NOW)))

    text = "".join(part for part in parts if isinstance(part, str))
    assert "This trace may have been pruned" in text
    assert f"began before {clock(T0, NOW)}, it was pruned" in text
    assert "still in every chart and SLO" in text


@pytest.mark.parametrize("trace_id", ["zz", "<img src=x onerror=alert(1)>", "1" * 33, "٣" * 32])
def test_what_is_no_trace_id_is_said_to_be_none(sources: Sources, trace_id: str) -> None:
    """A mistyped id is told from an unknown trace."""
    assert "is not a trace id" in shown(sources, make_filters(trace_id))


def test_upper_case_ids_are_read(sources: Sources) -> None:
    """An id pasted in capitals finds its trace."""
    sources.store.traces.write(make_batch([make_span("work", trace=0xAB)]))

    assert "work took" in shown(sources, make_filters("AB".zfill(32)))


def test_the_chosen_span_has_its_details(sources: Sources) -> None:
    """`?span=` opens the drawer of that span; its close link leads to the same page without it."""
    write_checkout(sources.store)
    filters = make_filters(span="2".zfill(16), tab="waterfall")

    model = trace.load(sources, filters)

    assert model.selected is not None
    assert (model.selected.span.name, model.selected.self_time_ns, model.selected.offset_ns) == (
        "POST bank",
        400 * MS,
        100 * MS,
    )
    assert "Failed: bank answered 503" in shown(sources, filters)
    assert f"/traces/{TRACE}?tab=waterfall" in properties(sources, filters, "href")
    assert "/traces?service=payments&operation=POST%20bank" in properties(sources, filters, "href")


@pytest.mark.parametrize("span", ["9".zfill(16), "nonsense", "<b>"])
def test_an_unknown_span_opens_nothing(sources: Sources, span: str) -> None:
    """A span that is not there leaves the trace as it is."""
    write_checkout(sources.store)

    assert trace.load(sources, make_filters(span=span)).selected is None


def test_the_waterfall_knows_revision_and_span(sources: Sources) -> None:
    """The host carries what the script needs, and the revision stays while the trace does."""
    write_checkout(sources.store)
    filters = make_filters(span="2".zfill(16))

    revisions = [properties(sources, filters, "data-revision") for _ in range(2)]

    assert revisions[0] == revisions[1] != [""]
    assert properties(sources, filters, "data-trace") == [TRACE]
    assert properties(sources, filters, "data-span") == ["2".zfill(16)]


@pytest.mark.parametrize(
    ("sort", "first"), [("duration", "POST /checkout"), ("operation", "POST /checkout"), ("x", "POST")]
)
def test_the_spans_tab_lists_spans(sources: Sources, sort: str, first: str) -> None:
    """The Spans tab is a table with a row for each span, in the asked order."""
    write_checkout(sources.store)

    text = shown(sources, make_filters(tab="spans", sort=sort))

    assert text.split("Status")[1].lstrip(" ↑↓").startswith(first)
    assert "POST bank" in text


def test_the_spans_tab_says_when_it_is_cut(sources: Sources) -> None:
    """Of a trace with more spans than the table holds, the longest are shown and the sentence says so."""
    spans = [make_span("root", span=1, start_ns=T0, duration_ns=SECOND)]
    spans += [make_span("work", span=n, parent=1, start_ns=T0 + n, duration_ns=n) for n in range(2, 1_102)]
    sources.store.traces.write(make_batch(spans))

    assert "Showing the 1,000 longest of 1,101 spans." in shown(sources, make_filters(tab="spans"))


def test_a_trace_without_logs_says_so(sources: Sources) -> None:
    """The Logs tab is never just empty."""
    write_checkout(sources.store)

    assert "No log record carries the id of this trace." in shown(sources, make_filters(tab="logs"))


def show_at(sources: Sources, now_ns: int, **params: str) -> str:
    """All texts of the page at a moment."""
    model = replace(trace.load(sources, make_filters(**params)), now_ns=now_ns)
    if model.selected is not None:
        model = replace(model, selected=replace(model.selected, now_ns=now_ns))
    return "".join(part for part in walk(trace.view(model)) if isinstance(part, str))


def test_an_open_trace_says_so_and_where_it_is(sources: Sources) -> None:
    """A request that goes on is called open, with the place in the code that its innermost span is at."""
    place = ("/srv/shop/payments/gateway.py", 88, "authorize")
    records = [
        make_open_record("POST /checkout", span=1, open_ns=12 * SECOND),
        make_open_record("charge", span=2, parent=1, start_ns=T0 + SECOND, open_ns=11 * SECOND, place=place),
    ]
    sources.store.logs.write(make_log_batch(records))

    text = show_at(sources, T0 + 20 * SECOND)

    assert f"POST /checkout is still open after 12.0{NNBSP}s" in text
    assert "2 spans still open" in text
    assert f"Still open: charge of shop has been open for 11.0{NNBSP}s, at payments/gateway.py:88 in authorize." in text
    assert "complete" not in text
    assert "No span of this trace" not in text


def test_a_killed_trace_never_finished(sources: Sources) -> None:
    """When nothing was heard for longer than records are apart, the page says when it was."""
    sources.store.logs.write(make_log_batch([make_open_record("POST /checkout", open_ns=SECOND)]))

    text = show_at(sources, T0 + 181 * SECOND)

    assert f"POST /checkout never finished, last heard of after 1.00{NNBSP}s" in text
    assert f"1 span never finished: last heard of 3{NNBSP}min ago" in text


def test_an_open_span_has_details(sources: Sources) -> None:
    """The drawer of an open span says how long it is open, where it was, and its attributes so far."""
    record = make_open_record("charge", so_far={"card": "visa"}, place=("/srv/shop/pay.py", 41, "authorize"))
    sources.store.logs.write(make_log_batch([record]))

    text = show_at(sources, T0 + 181 * SECOND, span="1".zfill(16))

    assert f"Open for1.00{NNBSP}s" in text
    assert f"Never finished, last heard of 3{NNBSP}min ago. It was at shop/pay.py:41 in authorize." in text
    assert "cardvisa" in text


def test_the_waterfall_marks_open_spans(sources: Sources) -> None:
    """The script gets the flag that draws a dashed edge, for open spans alone."""
    sources.store.logs.write(make_log_batch([make_open_record("hangs", span=1)]))
    sources.store.traces.write(make_batch([make_span("done", span=2, parent=1, start_ns=T0)]))

    columns = get(sources, f"/_spanwise/trace/{TRACE}").json

    assert [flags & 4 for flags in columns["flags"]] == [4, 0]


def test_runtime_records_are_no_log_lines(sources: Sources) -> None:
    """The log list has the app's records alone: no number of others takes their place in it."""
    write_checkout(sources.store)
    others = [make_open_record("a", open_ns=SECOND + number) for number in range(trace.MAX_LOGS)]
    sources.store.logs.write(make_log_batch([make_log_record("charging the card"), *others]))

    text = shown(sources, make_filters(tab="logs"))

    assert "Logs1" in text
    assert "charging the card" in text
    assert "Showing the newest" not in text


def test_without_samples_there_is_no_profile(sources: Sources) -> None:
    """The tab is not offered, and its address shows the waterfall."""
    write_checkout(sources.store)

    assert "Profile" not in shown(sources, make_filters())
    assert trace.load(sources, make_filters(tab="profile")).tab == "waterfall"


def test_the_profile_of_a_trace_and_of_a_span(sources: Sources) -> None:
    """The whole trace has all samples, a span its own and those of what it called."""
    write_checkout(sources.store)
    records = [
        make_samples_record({"/srv/shop/views.py:checkout:30": 5}, span=1),
        make_samples_record({"/srv/shop/bank.py:charge:7": 3}, span=2),
    ]
    sources.store.logs.write(make_log_batch(records))

    whole = shown(sources, make_filters(tab="profile"))
    child = shown(sources, make_filters(tab="profile", span="2".zfill(16)))
    other_tab = shown(sources, make_filters())

    assert "8 samples, 49 per second" in whole
    assert "POST bank and what it called" in child
    assert "3 samples, 49 per second" in child
    assert "Profile" in other_tab


def test_a_span_without_samples_says_so(sources: Sources) -> None:
    """The tab of a span in which none was taken leads back to the whole trace."""
    write_checkout(sources.store)
    sources.store.logs.write(make_log_batch([make_samples_record({"/srv/a.py:work:1": 5}, span=1)]))

    text = shown(sources, make_filters(tab="profile", span="2".zfill(16)))

    assert "No sample was taken in POST bank · Show the whole trace" in text


def test_hostile_names_stay_text(sources: Sources) -> None:
    """Markup in a span's or service's name reaches the page as a text child only."""
    hostile = "<img src=x onerror=alert(1)>"
    sources.store.traces.write(make_batch([make_span(hostile, failed=True)], hostile))

    text = shown(sources, make_filters(span="1".zfill(16)))

    assert f"{hostile} failed after" in text
    assert text.count(hostile) >= 5


@pytest.mark.parametrize("script", sorted(ASSETS.glob("waterfall*.js")), ids=lambda path: path.name)
def test_scripts_never_parse_markup(script: Path) -> None:
    """The waterfall's scripts have no way to turn data into markup."""
    source = script.read_text(encoding="utf-8")

    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval("):
        assert way not in source


def get(sources: Sources, path: str, **headers: str) -> Any:
    """What the page's route answers."""
    app = Dash("trace_test", add_log_handler=False)
    app.layout = html.Div()
    trace.callbacks(app, sources)
    return app.server.test_client().get(path, headers=headers)


def test_the_route_gives_the_columns(sources: Sources) -> None:
    """The script gets the columns as JSON, compressed where the browser takes it, and never from a cache."""
    write_checkout(sources.store)

    plain = get(sources, f"/_spanwise/trace/{TRACE}")
    packed = get(sources, f"/_spanwise/trace/{TRACE}", **{"Accept-Encoding": "gzip"})

    assert plain.status_code == 200
    assert plain.json["names"] == ["POST /checkout", "POST bank"]
    assert json.loads(gzip.decompress(packed.data)) == plain.json
    assert plain.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("trace_id", ["f" * 32, "nonsense", "%00"])
def test_the_route_refuses_unknown_traces(sources: Sources, trace_id: str) -> None:
    """A trace that is not there is a 404 with a sentence."""
    answer = get(sources, f"/_spanwise/trace/{trace_id}")

    assert answer.status_code == 404
    assert answer.json == {"message": "No span of this trace is in the store."}


def test_a_closed_store_is_a_503(sources: Sources) -> None:
    """When the store cannot answer, the script is told why."""
    sources.store.close()

    answer = get(sources, f"/_spanwise/trace/{TRACE}")

    assert answer.status_code == 503
    assert answer.json["message"]
