"""Overview: what needs attention, how the services do, and where the time goes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dash import html
from dash.development.base_component import Component

from apm_analysis.open_spans import is_silent
from apm_analysis.red import (
    OperationRed,
    RedPoint,
    ServiceRed,
    choose_step_ns,
    measured_part,
    operation_red,
    overall_series,
    service_red,
    whole_steps,
)
from apm_analysis.slo.burn_rate import SloStatus, evaluate_all
from apm_analysis.slo.openslo import load_objectives
from apm_analysis.slow_queries import SlowQuery, rank_slow_queries
from apm_store.model import Span
from apm_store.query import MINUTE_NS, Coverage, ServiceInfo, SpanAggregate, TimeRange
from apm_store.sketch import Sketch
from apm_ui.attention import Attention, failing_state, find_attention
from apm_ui.components.card import Kpi, copy_button, header, kpi_row
from apm_ui.components.empty import Listener, first_start
from apm_ui.components.figure import settled, step_seconds
from apm_ui.components.overview_cards import (
    COMPARABLE_SHARE,
    ServiceRow,
    attention_card,
    change_text,
    latency_card,
    outcome_card,
    services_card,
    slo_card,
    time_card,
)
from apm_ui.components.slo_cards import left_text
from apm_ui.components.sparkline import sparkline
from apm_ui.components.status import SEVERITY
from apm_ui.components.text import count, duration, minute_clock, percent, plural, rate, relative, resolved_range
from apm_ui.filters import Filters
from apm_ui.listeners import check_listeners
from apm_ui.page import Page
from apm_ui.sources import Sources
from apm_ui.still_open import find_still_open

PAGE = Page(slug="overview", path="/", title="Overview", order=10, icon="overview")


@dataclass(frozen=True, slots=True)
class Totals:
    """All requests of the range together, and how many came in the range of the same length before it."""

    count: int
    failed_count: int
    p50_ns: float | None
    p95_ns: float | None
    p99_ns: float | None
    count_before: int
    failed_before: int


@dataclass(frozen=True, slots=True)
class OverviewModel:
    """Everything the page shows; `slots` gives each service its colour.

    `measured` is the part of the range since the store's first span: what rates are divided by.
    """

    filters: Filters
    now_ns: int
    step_ns: int
    known: tuple[ServiceInfo, ...]
    measured: TimeRange
    listeners: tuple[Listener, ...] = ()
    coverage: Coverage | None = None
    totals: Totals | None = None
    services: tuple[ServiceRed, ...] = ()
    points: tuple[RedPoint, ...] = ()
    operations: tuple[OperationRed, ...] = ()
    slos: tuple[SloStatus, ...] = ()
    queries: tuple[SlowQuery, ...] = ()
    attention: tuple[Attention, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether no service has ever sent a span."""
        return not self.known

    @property
    def drawn_points(self) -> Sequence[RedPoint]:
        """The steps that charts and sparklines show."""
        return settled(self.points, self.step_ns, self.filters.time_range.end_ns)

    @property
    def slots(self) -> Mapping[str, int]:
        """The colour number of each service."""
        return {service.name: service.slot for service in self.known}


def load(sources: Sources, filters: Filters) -> OverviewModel:
    """Ask for the requests in all, by service, over time and by operation; for the objectives and statements."""
    store, span, now_ns = sources.store, filters.time_range, time.time_ns()
    known = tuple(store.traces.services())
    step_ns = choose_step_ns(span)
    if not known:
        return OverviewModel(filters, now_ns, step_ns, known, span, check_listeners(sources))
    objectives = load_objectives(sources.objectives_dir).objectives
    if filters.service:
        objectives = tuple(one for one in objectives if one.service == filters.service)
    services = [red for red in service_red(store, span) if filters.service in {None, red.service}]
    slos = evaluate_all(objectives, store, now_ns)
    queries = rank_slow_queries(store, span, filters.service)
    return OverviewModel(
        filters=filters,
        now_ns=now_ns,
        step_ns=step_ns,
        known=known,
        measured=measured_part(store, whole_steps(span, step_ns)),
        coverage=store.traces.coverage(span),
        totals=_totals(sources, filters, step_ns),
        services=tuple(services),
        points=tuple(overall_series(store, span, step_ns, filters.service)),
        operations=tuple(operation_red(store, span, filters.service)),
        slos=tuple(slos),
        queries=tuple(queries),
        attention=tuple(find_attention(slos, services, queries, _lost(sources, filters, now_ns), filters)),
    )


def _lost(sources: Sources, filters: Filters, now_ns: int) -> list[Span]:
    """The outermost open span of each request that went silent; none in ranges of the past."""
    found = find_still_open(sources.store, filters, now_ns)
    return [span for span in found.spans if is_silent(span, now_ns)] if found else []


def _totals(sources: Sources, filters: Filters, step_ns: int) -> Totals:
    span = whole_steps(filters.time_range, step_ns)
    before = TimeRange(span.start_ns - span.duration_ns, span.start_ns)
    traces = sources.store.traces
    rows = traces.aggregate(SpanAggregate(span, service=filters.service, with_durations=True))
    rows_before = traces.aggregate(SpanAggregate(before, service=filters.service))
    durations = Sketch()
    for row in rows:
        durations.merge(row.durations)
    return Totals(
        count=sum(row.count for row in rows),
        failed_count=sum(row.failed_count for row in rows),
        p50_ns=durations.quantile(0.50),
        p95_ns=durations.quantile(0.95),
        p99_ns=durations.quantile(0.99),
        count_before=sum(row.count for row in rows_before),
        failed_before=sum(row.failed_count for row in rows_before),
    )


def view(model: OverviewModel) -> Component:
    """The finding as title, then what needs attention, the key figures, the services, the charts, the operations."""
    if model.is_empty or model.coverage is None or model.totals is None:
        return first_start(model.listeners)
    shared = model.filters.only_shared()
    rows = _service_rows(model)
    words = model.filters.service or "all services"
    charted = whole_steps(model.filters.time_range, model.step_ns)
    return html.Div(
        [
            header(_title(model), _sub(model, model.coverage, model.totals), [_copy_link()]),
            attention_card(model.attention) if model.attention else None,
            kpi_row(_kpis(model, model.totals)),
            html.Div(
                [
                    services_card(
                        rows, lambda name: replace(shared, service=name).link("/traces"), duration(model.step_ns)
                    ),
                    slo_card(model.slos, lambda name: shared.with_params(slo=name).link("/slos"), shared.link("/slos")),
                ],
                className="columns aside",
            ),
            html.Div(
                [
                    outcome_card(model.points, model.step_ns, charted, model.measured),
                    latency_card(model.drawn_points, model.step_ns, charted, words),
                ],
                className="columns halves",
            ),
            time_card(model.operations, model.slots, model.measured, lambda one: _operation_href(one, shared)),
        ],
        className="stack",
    )


def _operation_href(one: OperationRed, shared: Filters) -> str:
    return replace(shared, service=one.service).with_params(operation=one.operation).link("/traces")


def _copy_link() -> Component:
    return html.Div(copy_button("address", "Copy link"), className="hide-small")


def _title(model: OverviewModel) -> str:
    found = len(model.attention)
    if found:
        return "1 thing needs attention" if found == 1 else f"{found} things need attention"
    on_target = sum(status.state == "ok" for status in model.slos)
    slos = f", {plural(on_target, 'SLO')} on target" if on_target else ""
    who = model.filters.service or plural(len(model.known), "service")
    return f"All quiet: {who}{slos}"


def _sub(model: OverviewModel, coverage: Coverage, totals: Totals) -> str:
    who = model.filters.service or plural(len(model.known), "service")
    held = f"{count(coverage.measured_minutes)} of {count(coverage.expected_minutes)} minutes hold data"
    if coverage.measured_minutes == coverage.expected_minutes:
        held = "every minute holds data"
    return f"{who}, {plural(totals.count, 'request')} {_when(model)} · {held}, all counted"


def _is_young(model: OverviewModel) -> bool:
    """Whether measuring began within the range."""
    return model.measured.start_ns - model.filters.time_range.start_ns > MINUTE_NS


def _when(model: OverviewModel) -> str:
    span = model.filters.time_range
    if _is_young(model) and model.filters.range_name != "custom":
        return f"since {minute_clock(model.measured.start_ns, model.now_ns)}"
    return "from " + resolved_range(span.start_ns, span.end_ns, model.now_ns).replace("–", " to ")


def _kpis(model: OverviewModel, totals: Totals) -> list[Kpi]:
    span = model.filters.time_range
    seconds = max(1e-9, model.measured.duration_ns / 1e9)
    points = model.drawn_points
    rates = [p.count / step_seconds(p.start_ns, model.step_ns, span) if p.count else None for p in points]
    shares = [p.failed_count / p.count if p.count else None for p in points]
    share = totals.failed_count / totals.count if totals.count else None
    is_comparable = totals.count_before and totals.count_before >= totals.count * COMPARABLE_SHARE
    was = f"; was {percent(totals.failed_before / totals.count_before)}" if is_comparable else ""
    failing = "critical" if any(row.state == "critical" for row in model.attention) and totals.failed_count else ""
    when = _when(model) if _is_young(model) else f"in {duration(span.duration_ns)}"
    return [
        Kpi(
            "Requests",
            rate(totals.count / seconds, "req"),
            f"{count(totals.count)} {when}{change_text(totals.count, totals.count_before)}",
            sparkline(rates, width=72, height=24),
        ),
        Kpi(
            "Failed",
            percent(share),
            f"{count(totals.failed_count)} of {count(totals.count)}{was}",
            sparkline(shares, width=72, height=24, color="critical-fill" if failing else "accent"),
            failing,
        ),
        Kpi(
            "Latency p95",
            duration(totals.p95_ns),
            f"p50 {duration(totals.p50_ns)}, p99 {duration(totals.p99_ns)}",
            sparkline([p.p95_ns for p in points], width=72, height=24),
        ),
        _budget_kpi(model.slos),
        _database_kpi(model.queries, seconds),
    ]


def _budget_kpi(slos: Sequence[SloStatus]) -> Kpi:
    measured = [status for status in slos if status.budget_left is not None]
    if not measured:
        return Kpi("Error budget, worst", "–", "nothing measured yet" if slos else "no objectives yet")
    worst = min(measured, key=lambda status: status.budget_left or 0)
    is_critical = worst.state == "critical"
    left = [value for _, value in worst.series[-60:]]
    line = sparkline(left, width=72, height=24, color="critical-fill" if is_critical else "accent")
    window = duration(worst.objective.window_ns)
    words = f"{worst.objective.display_name}, {window}"
    return Kpi("Error budget, worst", left_text(worst), words, line, "critical" if is_critical else "")


def _database_kpi(queries: Sequence[SlowQuery], seconds: float) -> Kpi:
    if not queries:
        return Kpi("Database time", "–", "no database spans in this range")
    total_ns = sum(query.total_ns for query in queries)
    words = f"{percent(queries[0].share_of_total, 1)} in 1 of {plural(len(queries), 'statement')}"
    return Kpi("Database time", f"{duration(total_ns / seconds)}/s", words)


def _service_rows(model: OverviewModel) -> list[ServiceRow]:
    reds = {red.service: red for red in model.services}
    chosen = [info for info in model.known if model.filters.service in {None, info.name}]
    rows = [_service_row(info, reds.get(info.name), model) for info in chosen]
    return sorted(rows, key=lambda row: (SEVERITY[row.state], -(row.red.failed_share if row.red else 0), row.name))


def _service_row(info: ServiceInfo, red: ServiceRed | None, model: OverviewModel) -> ServiceRow:
    if red is None:
        is_silent = info.last_seen_ns < model.filters.time_range.start_ns
        why = f"last span {relative(info.last_seen_ns, model.now_ns)}" if is_silent else "no requests"
        return ServiceRow(info.name, info.slot, "unknown", why, None)
    points = settled(red.series, model.step_ns, model.filters.time_range.end_ns)
    burning = [status.state for status in model.slos if status.objective.service == info.name]
    states = [state for state in burning if state in {"critical", "warn"}] + [failing_state(red)]
    state = min(states, key=SEVERITY.__getitem__)
    why = "SLO burning" if state in burning else "failing"
    words = {"ok": "", "unknown": "too few to judge"}.get(state, why)
    return ServiceRow(info.name, info.slot, state, words, red, points)
