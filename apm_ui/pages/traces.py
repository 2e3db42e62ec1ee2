"""Traces: those that meet the query, by time and duration, and as a list."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from apm_store.query import Coverage, Outcome, TracePage, TraceQuery
from apm_ui.components.card import card, header, note
from apm_ui.components.chips import Facet, facets, problem_line, query_bar
from apm_ui.components.durations import duration_histogram, duration_legend, duration_scatter, is_log_scaled, outcome_of
from apm_ui.components.empty import Listener, first_start, nothing_matches, prune_note
from apm_ui.components.open_spans import open_spans_card, total_text
from apm_ui.components.text import clock, count, duration, plural, resolved_range
from apm_ui.components.trace_cells import trace_list
from apm_ui.filters import FilterError, Filters, parse_filters
from apm_ui.listeners import check_listeners
from apm_ui.page import Page
from apm_ui.pruned import pruned_before_ns
from apm_ui.search import (
    Condition,
    SearchError,
    conditions_to_filters,
    filters_to_conditions,
    merge,
    parse_search,
    trace_query,
)
from apm_ui.sources import Sources
from apm_ui.still_open import StillOpen, find_still_open
from apm_ui.trace_search import Blocker, TraceRow, find_blocker, load_facets, name_statement, to_trace_row

PAGE = Page(slug="traces", path="/traces", title="Traces", order=20, icon="traces", group="Explore")
MAX_POINTS = 5_000
MAX_STILL_OPEN = 5
ROW_STEPS = (100, 250, 500, 1_000)
ORDERS = {"newest": "newest first", "slowest": "slowest first"}
VIEWS = {"scatter": "Scatter", "histogram": "Histogram"}


@dataclass(frozen=True, slots=True)
class TracesModel:
    """Everything the page shows; `order` and `chart` are keys of ORDERS and VIEWS.

    `still_open` is None in ranges that do not end now. With a `problem` nothing was searched; `blocker` says why
    nothing matches. `statements` are names by id.
    """

    filters: Filters
    now_ns: int
    listeners: tuple[Listener, ...]
    coverage: Coverage
    still_open: StillOpen | None
    conditions: tuple[Condition, ...]
    order: str
    chart: str
    problem: SearchError | None = None
    found: TracePage | None = None
    rows: tuple[TraceRow, ...] = ()
    facets: tuple[Facet, ...] = ()
    slots: Mapping[str, int] | None = None
    blocker: Blocker | None = None
    statements: Mapping[str, str] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the store has never heard of a span."""
        return self.coverage.last_ns is None and self.still_open is None

    def href(self, conditions: Sequence[Condition]) -> str:
        """The address of this page with these conditions."""
        return conditions_to_filters(conditions, self.filters).link(PAGE.path)


def load(sources: Sources, filters: Filters) -> TracesModel:
    """Find the traces that meet the conditions in the URL, and count the facets beside them."""
    store, time_range, now_ns = sources.store.traces, filters.time_range, time.time_ns()
    order, chart, limit = _choice(filters, "order", ORDERS), _choice(filters, "view", VIEWS), _row_limit(filters)
    coverage = store.coverage(time_range)
    still_open = find_still_open(sources.store, filters, now_ns)
    listeners = check_listeners(sources) if coverage.last_ns is None else ()
    try:
        conditions = filters_to_conditions(filters)
    except SearchError as problem:
        return TracesModel(filters, now_ns, listeners, coverage, still_open, (), order, chart, problem)
    query = trace_query(conditions, TraceQuery(time_range, limit=limit, order=order))
    found = store.find(query, max_points=MAX_POINTS)
    slots = {service.name: service.slot for service in store.services()}
    is_blocked = not found.total and bool(conditions) and coverage.last_ns is not None
    return TracesModel(
        filters=filters,
        now_ns=now_ns,
        listeners=listeners,
        coverage=coverage,
        still_open=still_open,
        conditions=conditions,
        order=order,
        chart=chart,
        found=found,
        rows=tuple(map(to_trace_row, found.traces)),
        facets=load_facets(store, time_range, conditions, slots),
        slots=slots,
        blocker=find_blocker(store, time_range, conditions) if is_blocked else None,
        statements=name_statement(store, query),
    )


def _choice(filters: Filters, name: str, choices: Mapping[str, str]) -> str:
    value = filters.get(name) or next(iter(choices))
    if value not in choices:
        raise FilterError(f"“{value}” is not a {name}. Write {' or '.join(choices)}.")
    return value


def _row_limit(filters: Filters) -> int:
    text = filters.get("rows") or str(ROW_STEPS[0])
    if text not in map(str, ROW_STEPS):
        raise FilterError(f"“{text}” is not a number of rows. Write one of {', '.join(map(str, ROW_STEPS))}.")
    return int(text)


def view(model: TracesModel) -> Component:
    """The finding, the query with its facets, the durations, and the list."""
    if model.is_empty:
        return first_start(model.listeners)
    problem = problem_line(model.problem, "") if model.problem else ()
    bar = query_bar(PAGE.slug, model.conditions, model.href, problem, model.statements)
    if model.found is None:
        return html.Div([header("The query has a mistake", _scope(model)), bar, _mistake(model)], className="stack")
    body = [_chart(model, model.found), _list(model, model.found)] if model.found.total else [_nothing(model)]
    side = facets(model.facets, model.conditions, model.href, _facet_note(model.conditions))
    columns = html.Div([side, html.Div(body, className="stack")], className="beside-facets")
    pruned = prune_note(model.coverage, model.now_ns)
    head = header(_title(model, model.found), _scope(model))
    return html.Div([head, bar, pruned, _still_open(model), columns], className="stack")


def _title(model: TracesModel, found: TracePage) -> str:
    if not found.total:
        if model.conditions:
            return "No trace matches these conditions"
        return "The traces of this time range were pruned" if _is_all_pruned(model) else "No traces in this time range"
    total = f"{'' if found.is_complete else 'At least '}{plural(found.total, 'trace')}"
    failed = sum(outcome_of(point) is Outcome.FAILED for point in found.points)
    if found.total > len(found.points):
        return f"{total}, {count(failed)} of the newest {count(len(found.points))} failed"
    if failed in {0, found.total}:
        return f"{total}, {'all' if failed else 'none'} failed"
    return f"{total}, {count(failed)} of them failed"


def _still_open(model: TracesModel) -> Component | None:
    found, shared = model.still_open, model.filters.only_shared()
    if found is None:
        return None
    shown = found.spans[:MAX_STILL_OPEN]
    total = total_text(len(shown), len(found.spans), is_complete=found.is_complete)
    slots = model.slots or {}
    return open_spans_card(shown, slots, model.now_ns, total, lambda span: shared.link(f"/traces/{span.trace_id}"))


def _is_all_pruned(model: TracesModel) -> bool:
    """Whether no raw data of the whole range is to be expected."""
    return (pruned_before_ns(model.coverage) or 0) >= model.filters.time_range.end_ns


def _scope(model: TracesModel) -> str:
    time_range, coverage = model.filters.time_range, model.coverage
    when = resolved_range(time_range.start_ns, time_range.end_ns, model.now_ns)
    minutes = f"spans in {count(coverage.measured_minutes)} of {count(coverage.expected_minutes)} min"
    who = model.filters.service or "All services"
    return f"{who}, {when} · {minutes}"


def _mistake(model: TracesModel) -> Component:
    remove = dcc.Link("Remove all conditions", href=model.href([]), className="button primary")
    text = "The address of this page holds a condition that cannot be searched, so nothing was."
    return nothing_matches(text, [remove], title="Nothing was searched")


def _facet_note(conditions: Sequence[Condition]) -> str:
    is_beyond = any(condition.is_attribute or condition.key in {"duration", "statement"} for condition in conditions)
    if is_beyond:
        return "Counts are of requests, whatever their duration, attributes and statements."
    return "Counts are of requests; a trace can hold several."


def _chart(model: TracesModel, found: TracePage) -> Component:
    points = found.points
    is_whole = len(points) == found.total and pruned_before_ns(model.coverage) is None
    has_all = not model.conditions and is_whole
    notes = ["log scale"] if is_log_scaled(points) else []
    if found.total > len(points):
        notes.append(f"the newest {count(len(points))} of {count(found.total)}")
    links = [
        dcc.Link(
            words,
            href=model.filters.with_params(view=None if name == "scatter" else name).link(PAGE.path),
            className="button small chosen" if name == model.chart else "button small",
        )
        for name, words in VIEWS.items()
    ]
    chart = (
        duration_histogram("traces-histogram", points)
        if model.chart == "histogram"
        else duration_scatter("traces-durations", points, model.filters.time_range, has_all=has_all)
    )
    tools = html.Span([duration_legend(points), html.Span(links, className="join")], className="card-tools")
    return card("Durations", ", ".join(notes), chart, link=tools)


def _list(model: TracesModel, found: TracePage) -> Component:
    filters = model.filters
    shown = f"{count(len(model.rows))} of {count(found.total)}, {ORDERS[model.order]}"
    if any(row.matched_operation for row in model.rows):
        shown += "; status and duration are those of the span behind ›"
    rows = trace_list(
        "traces-grid",
        model.rows,
        model.slots or {},
        now_ns=model.now_ns,
        order=model.order,
        order_href=lambda order: filters.with_params(order=None if order == "newest" else order).link(PAGE.path),
        trace_href=lambda row: _trace_link(filters, row),
    )
    return card("Traces", shown, [rows, _capped(model, found)])


def _trace_link(filters: Filters, row: TraceRow) -> str:
    span_id = row.matched.span_id if row.matched_operation else None
    return filters.only_shared().with_params(span=span_id).link(f"/traces/{row.trace_id}")


def _capped(model: TracesModel, found: TracePage) -> Component | None:
    shown = len(model.rows)
    if shown >= found.total:
        return None
    more = next((step for step in ROW_STEPS if step > shown), None)
    link = model.filters.with_params(rows=str(more)).link(PAGE.path) if more else ""
    charts = "Counts and charts use" + (
        f" all {count(found.total)}."
        if len(found.points) == found.total
        else f" the newest {count(len(found.points))}."
    )
    sentence = html.B(f"Showing {count(shown)} of {plural(found.total, 'trace')}.")
    action = dcc.Link(f"Show {count(more)}", href=link) if more else "Narrow the search to see others."
    return note([sentence, f" {ORDERS[model.order].capitalize()}. {charts} ", action])


def _nothing(model: TracesModel) -> Component:
    blocker, time_range = model.blocker, model.filters.time_range
    when = resolved_range(time_range.start_ns, time_range.end_ns, model.now_ns)
    day = dcc.Link(
        "Search the last 24 h", href=replace(model.filters, range_name="1d").link(PAGE.path), className="button"
    )
    if model.coverage.last_ns is None:
        return nothing_matches("Spans arrive here when they end, and none has ended yet.", title="No traces")
    if not model.conditions:
        newest = clock(model.coverage.last_ns, model.now_ns)
        if _is_all_pruned(model):
            overview = dcc.Link("See their numbers", href=model.filters.only_shared().link("/"), className="button")
            gone = f"No trace that started in {when} is kept any more; their numbers are still in every chart and SLO."
            return nothing_matches(f"{gone} The newest span is of {newest}.", [overview, day], title="Pruned")
        return nothing_matches(f"No trace started in {when}. The newest span is of {newest}.", [day], title="No traces")
    title = "What removes the last ones"
    if blocker is None:
        clear = dcc.Link("Remove all conditions", href=model.href([]), className="button primary")
        return nothing_matches(
            f"In {when} more than one condition does: without any single one there is still nothing.",
            [clear, day],
            title=title,
        )
    others = [condition for condition in model.conditions if condition != blocker.condition]
    without = "With the others alone" if others else "Without it"
    text = [
        "The condition that removes the last ones is ",
        html.Code(str(blocker.condition), className="chip-like"),
        f". {without}, {plural(blocker.total, 'trace')} in {when} {'matches' if blocker.total == 1 else 'match'}; "
        f"the slowest took {duration(blocker.slowest_ns)}.",
    ]
    remove = dcc.Link(f"Remove {blocker.condition.key}", href=model.href(others), className="button primary")
    return nothing_matches(text, [remove, day], title=title)


def callbacks(app: Dash, _sources: Sources) -> None:
    """Typing in the query bar changes the address, or says what is wrong; a click on a point opens its trace."""

    @app.callback(
        Output("shell-url", "search"),
        Output("traces-problem", "children"),
        Output("traces-bar", "className"),
        Input("traces-query", "n_submit"),
        Input("traces-search", "n_clicks"),
        State("traces-query", "value"),
        State("shell-url", "search"),
        prevent_initial_call=True,
    )
    def search(submits: Any, clicks: Any, text: Any, address: Any) -> tuple[Any, Any, Any]:
        if not submits and not clicks:  # the bar was drawn, nobody searched
            return no_update, no_update, no_update
        typed = text if isinstance(text, str) else ""
        try:
            filters = parse_filters(address if isinstance(address, str) else "", time.time_ns())
            conditions = merge(filters_to_conditions(filters), parse_search(typed))
        except FilterError as error:
            return no_update, problem_line(error, typed), "query has-problem"
        return conditions_to_filters(conditions, filters).query_string(), [], "query"

    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("spanwise_lists", "openPoint"),
        Input({"type": "figure", "name": "traces-durations"}, "clickData"),
        prevent_initial_call=True,
    )
