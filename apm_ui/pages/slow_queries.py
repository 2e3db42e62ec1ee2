"""Slow queries: which statements cost the most database time, and who calls them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dash import dcc, html
from dash.development.base_component import Component

from apm_analysis.red import choose_step_ns, whole_steps
from apm_analysis.slow_queries import SlowQuery, StatementSeries, rank_slow_queries, statement_series
from apm_store.api import TraceStore
from apm_store.query import Coverage, StatementAggregate, StatementCallers, StatementRow, TraceQuery
from apm_ui.components.card import Kpi, card, copy_button, drawer, header, kpi_row, note
from apm_ui.components.durations import fine_duration_axis
from apm_ui.components.empty import Listener, explained, first_start, prune_note
from apm_ui.components.figure import Line, time_series
from apm_ui.components.gauge import inline_bar
from apm_ui.components.sparkline import sparkline
from apm_ui.components.sql import pretty_sql, short_sql, statement_name
from apm_ui.components.statement_time import statement_time
from apm_ui.components.status import swatch, tag
from apm_ui.components.table import Column, table
from apm_ui.components.text import SECOND_NS, count, duration, percent, plural, rate, resolved_range
from apm_ui.filters import Filters
from apm_ui.listeners import check_listeners
from apm_ui.page import Page
from apm_ui.pruned import pruned_before_ns
from apm_ui.sources import Sources

PAGE = Page(slug="queries", path="/queries", title="Slow queries", order=40, icon="queries", group="Diagnose")
MAX_ROWS = 100
MAX_CALLERS = 8
MAX_SEARCHED_CALLS = 20_000  # the slowest call is looked up among so many at most: it takes about 50 ms
SLOW_NS = 100_000_000
_WORDS = ("No", "One", "Two", "Three", "Four", "Five")
NO_CALLS = (
    "Database calls come from instrumented drivers: sqlalchemy, sqlite3, psycopg, psycopg2, asyncpg, mysqlclient, "
    "pymysql, pymongo, redis and others. Install the one of your driver and start the app through spanwise run."
)


@dataclass(frozen=True, slots=True)
class Selected:
    """The chosen statement, its calls by step of time, who calls it, and its slowest span ("" when not found)."""

    query: SlowQuery
    steps: tuple[StatementRow, ...]
    callers: StatementCallers
    worst_span_id: str


@dataclass(frozen=True, slots=True)
class QueriesModel:
    """Everything the page shows; `queries` and `series` have the most total time first.

    `missing_statement` is the chosen statement that was not called in the range.
    """

    filters: Filters
    now_ns: int
    listeners: tuple[Listener, ...]
    coverage: Coverage
    queries: tuple[SlowQuery, ...]
    series: tuple[StatementSeries, ...]
    step_ns: int
    slots: Mapping[str, int]
    selected: Selected | None = None
    missing_statement: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether no database call is in the range."""
        return not self.queries

    @property
    def is_pruned(self) -> bool:
        """Whether raw spans of the range are gone: callers and worst traces may be missing, measures are not."""
        return pruned_before_ns(self.coverage) is not None

    @property
    def total_ns(self) -> int:
        """All database time of the range."""
        return sum(query.total_ns for query in self.queries)

    def link(self, **params: str | None) -> str:
        """This page with another selection."""
        return self.filters.with_params(**params).link(PAGE.path)


def load(sources: Sources, filters: Filters) -> QueriesModel:
    """Rank the statements of the range, and ask more about the chosen one."""
    store, time_range = sources.store, filters.time_range
    step_ns = choose_step_ns(time_range)
    queries = rank_slow_queries(store, time_range, filters.service)
    statement_id, service = filters.get("statement"), filters.get("by")
    chosen = [query for query in queries if query.statement_id == statement_id]
    query = next((query for query in chosen if query.service == service), chosen[0] if chosen else None)
    coverage = store.traces.coverage(time_range)
    return QueriesModel(
        filters=filters,
        now_ns=time.time_ns(),
        listeners=check_listeners(sources) if coverage.last_ns is None else (),
        coverage=coverage,
        queries=tuple(queries),
        series=tuple(statement_series(store, time_range, step_ns, filters.service)),
        step_ns=step_ns,
        slots={info.name: info.slot for info in store.traces.services()},
        selected=_select(store.traces, filters, query, step_ns) if query else None,
        missing_statement=statement_id if statement_id and not query else "",
    )


def _select(store: TraceStore, filters: Filters, query: SlowQuery, step_ns: int) -> Selected:
    widened = whole_steps(filters.time_range, step_ns)
    question = StatementAggregate(widened, query.service, query.statement_id, step_ns)
    callers = store.statement_callers(query.statement_id, filters.time_range)
    return Selected(query, tuple(store.aggregate_statements(question)), callers, _worst_span_id(store, filters, query))


def _worst_span_id(store: TraceStore, filters: Filters, query: SlowQuery) -> str:
    if query.count > MAX_SEARCHED_CALLS:
        return ""
    slowest = TraceQuery(
        filters.time_range,
        service=query.service,
        statement_id=query.statement_id,
        min_duration_ns=query.max_ns,
        limit=1,
    )
    found = (trace.matched for trace in store.find(slowest).traces if trace.trace_id == query.worst_trace_id)
    return next((span.span_id for span in found), "")


def view(model: QueriesModel) -> Component:
    """The finding, key figures, the ranking with the chosen statement beside it, and database time over time."""
    if model.coverage.last_ns is None:
        return first_start(model.listeners)
    if model.is_empty:
        return html.Div([header("No database calls", _scope(model)), _nothing(model)], className="stack")
    left = html.Div([_statements(model), _chart(model)], className="stack")
    # The drawer's place is there without it, so that opening it leaves the table as it is.
    place = html.Div([_drawer(model, model.selected)] if model.selected else [], className="drawer-place")
    body = html.Div([left, place], className="with-drawer" if model.selected else "without-drawer")
    missing = note("The chosen statement was not called in this time range.") if model.missing_statement else None
    return html.Div([header(_title(model), _scope(model)), _kpis(model), html.Div(missing), body], className="stack")


def _title(model: QueriesModel) -> str:
    queries = model.queries
    if len(queries) == 1:
        return "One statement takes all database time"
    share, needed = 0.0, 0
    while share < 0.5 and needed < len(queries):
        share += queries[needed].share_of_total
        needed += 1
    if needed >= len(_WORDS) or needed == len(queries):
        return f"Database time is spread over {plural(len(queries), 'statement')}"
    verb = "takes" if needed == 1 else "take"
    noun = "statement" if needed == 1 else "statements"
    return f"{_WORDS[needed]} {noun} {verb} {percent(share, 0)} of database time"


def _scope(model: QueriesModel) -> str:
    time_range, coverage = model.filters.time_range, model.coverage
    when = resolved_range(time_range.start_ns, time_range.end_ns, model.now_ns)
    calls = sum(query.count for query in model.queries)
    minutes = f"spans in {count(coverage.measured_minutes)} of {count(coverage.expected_minutes)} min"
    what = f"{plural(len(model.queries), 'statement')}, {plural(calls, 'call')}" if model.queries else "Database calls"
    who = f" of {model.filters.service}" if model.filters.service else ""
    return f"{what}{who}, {when} · {minutes}"


def _kpis(model: QueriesModel) -> Component:
    queries, seconds = model.queries, max(1.0, model.filters.time_range.duration_ns / SECOND_NS)
    calls, failed = sum(q.count for q in queries), sum(q.failed_count for q in queries)
    services = len({query.service for query in queries})
    slowest = max(queries, key=lambda query: query.p95_ns or 0)
    busy, called = _totals(model.series)
    pace = f"{duration(model.total_ns / seconds)}/s"
    return kpi_row(
        [
            Kpi("Database time", duration(model.total_ns), pace, sparkline(busy, width=64, height=26)),
            Kpi("Statements", count(len(queries)), f"of {plural(services, 'service')}"),
            Kpi("Calls", count(calls), rate(calls / seconds, "calls"), sparkline(called, width=64, height=26)),
            Kpi("Slowest statement, p95", duration(slowest.p95_ns), statement_name(slowest.text)),
            Kpi("Failed calls", count(failed), f"{percent(failed / calls)} of calls", state="critical" * bool(failed)),
        ]
    )


def _totals(series: Sequence[StatementSeries]) -> tuple[list[int | None], list[int | None]]:
    """Time and calls of every step; None where there was no call."""
    steps = list(zip(*(one.points for one in series), strict=True))
    return [sum(p.total_ns for p in step) or None for step in steps], [
        sum(p.count for p in step) or None for step in steps
    ]


def _statements(model: QueriesModel) -> Component:
    largest_ns = model.queries[0].total_ns or 1
    chosen = model.selected.query if model.selected else None
    columns: list[Column[SlowQuery]] = [
        Column("", lambda query: _service_mark(query, model.slots), width="34px"),
        Column("Statement", _statement, is_name=True),
        Column("Calls", lambda query: count(query.count), is_number=True, width="76px", hide="small"),
        Column(
            "Total",
            lambda query: inline_bar(query.total_ns / largest_ns, duration(query.total_ns)),
            True,
            False,
            "clamp(96px, 11vw, 146px)",
            "",
            "↓",
        ),
        Column("p50", lambda query: duration(query.p50_ns), is_number=True, width="82px", hide="narrow"),
        Column("p95", lambda query: duration(query.p95_ns), is_number=True, width="82px"),
        Column("Notes", _tags, width="92px", hide="small"),
    ]
    rows = model.queries[:MAX_ROWS]
    body = table(
        columns,
        rows,
        label="Statements by total time",
        link=lambda query: model.link(statement=query.statement_id, by=query.service),
        is_selected=lambda query: query == chosen,
        row_height=46,
    )
    sub = f"{count(len(rows))} of {count(len(model.queries))}, by total time"
    foot = (
        "Database time is what services waited for their calls: driver and, for a network database, network included."
    )
    return card("Statements", sub, [body, html.P(foot, className="card-foot")])


def _service_mark(query: SlowQuery, slots: Mapping[str, int]) -> Component:
    return html.Span(
        [swatch(slots.get(query.service, -1)), html.Span(query.service, className="sr-only")], title=query.service
    )


def _statement(query: SlowQuery) -> Component:
    return html.Span(short_sql(query.text), className="statement", title=query.text)


def _tags(query: SlowQuery) -> Component:
    tags: list[Component] = []
    if (query.p95_ns or 0) >= SLOW_NS:
        words = f"1 call in 20 takes {duration(SLOW_NS)} or longer (p95 {duration(query.p95_ns)})"
        tags.append(html.Span(tag("slow", "warn"), title=words))
    if query.failed_count:
        tags.append(tag(f"{count(query.failed_count)} failed", "critical"))
    return html.Span(tags, className="tags")


def _chart(model: QueriesModel) -> Component:
    texts = {query.statement_id: query.text for query in model.queries}
    step = f"per minute, in steps of {duration(model.step_ns)}"
    chart = statement_time("queries-time", model.series, texts, model.step_ns, model.filters.time_range)
    return card("Database time by statement", step, chart)


def _drawer(model: QueriesModel, selected: Selected) -> Component:
    query = selected.query
    where = " · ".join(filter(None, [query.service, query.system, query.namespace]))
    shared = model.filters.only_shared()
    worst_href = shared.with_params(span=selected.worst_span_id or None).link(f"/traces/{query.worst_trace_id}")
    worst: Component = dcc.Link(f"Worst trace, {duration(query.max_ns)} →", href=worst_href)
    if model.is_pruned and not selected.worst_span_id and query.count <= MAX_SEARCHED_CALLS:
        worst = html.Span(f"Worst call, {duration(query.max_ns)}, its trace was pruned", className="muted")
    found = shared.with_params(statement=query.statement_id).link("/traces")
    body = [
        pretty_sql(query.text),
        html.Div([copy_button(query.text, "Copy SQL"), html.Span(worst, className="end")], className="row"),
        _facts(query),
        *_latency(model, selected),
        html.H3("Called by"),
        prune_note(model.coverage, model.now_ns),
        _callers(selected.callers, is_pruned=model.is_pruned),
        html.P(dcc.Link("Traces with this statement →", href=found)),
    ]
    headline = f"{duration(query.total_ns)} in {plural(query.count, 'call')}"
    return drawer(where, headline, body, close_href=model.link(statement=None, by=None))


def _facts(query: SlowQuery) -> Component:
    facts = [
        ("Share of database time", percent(query.share_of_total)),
        ("p50", duration(query.p50_ns)),
        ("p95", duration(query.p95_ns)),
        ("Slowest call", duration(query.max_ns)),
        ("Failed calls", f"{count(query.failed_count)} of {count(query.count)}"),
    ]
    return html.Dl([part for name, value in facts for part in (html.Dt(name), html.Dd(value))], className="facts")


def _latency(model: QueriesModel, selected: Selected) -> tuple[Component, Component]:
    widened = whole_steps(model.filters.time_range, model.step_ns)
    starts = list(range(widened.start_ns, widened.end_ns, model.step_ns))
    rows = {row.start_ns: row.durations for row in selected.steps}
    lines, values = [], []
    for name, q, dash in (("p95", 0.95, "solid"), ("p50", 0.50, "dot")):
        ys = [rows[start].quantile(q) if start in rows else None for start in starts]
        lines.append(Line(name, ys, [duration(y) for y in ys], dash=dash, width=1.6 if q > 0.5 else 1.3))
        values += ys
    label = f"p95 {duration(selected.query.p95_ns)}, p50 {duration(selected.query.p50_ns)} over the range."
    axis, is_log = fine_duration_axis(values)
    time_range = model.filters.time_range
    chart = time_series("queries-latency", lines, starts, time_range, label=label, height=190, yaxis=axis)
    scale = html.Span(" log scale", className="muted small") if is_log else ""
    return html.H3(["Latency", scale]), chart


def _callers(callers: StatementCallers, *, is_pruned: bool) -> Component:
    columns: list[Column[tuple[str, str, int]]] = [
        Column("Operation", _caller),
        Column("Calls", lambda caller: count(caller[2]), is_number=True, width="64px"),
        Column("Share", lambda caller: percent(caller[2] / max(1, callers.sampled)), is_number=True, width="72px"),
    ]
    if not callers.callers:
        gone = "were pruned with the raw data" if is_pruned else "are not stored"
        return html.P(f"The entry spans of these calls {gone}.", className="muted")
    shown = callers.callers[:MAX_CALLERS]
    hidden = len(callers.callers) - len(shown)
    of = "all" if callers.sampled >= callers.total else f"the newest {count(callers.sampled)} of"
    coverage = f"Counted over {of} {plural(callers.total, 'call')}." + (
        f" {hidden} callers with fewer." if hidden else ""
    )
    return html.Div([table(columns, shown, label="Callers", row_height=30), html.P(coverage, className="muted small")])


def _caller(caller: tuple[str, str, int]) -> Component:
    return html.Span([caller[1], html.Span(f" {caller[0]}", className="muted")], className="wrap")


def _nothing(model: QueriesModel) -> Component:
    when = resolved_range(model.filters.time_range.start_ns, model.filters.time_range.end_ns, model.now_ns)
    who = model.filters.service or "No service"
    happened = f"{who} sent no database spans" if model.filters.service else f"{who} sent database spans"
    return explained(
        f"{happened} in {when}. {NO_CALLS}", title="No database calls in this time range", command="spanwise doctor"
    )
