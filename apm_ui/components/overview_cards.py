"""The cards of the overview."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dash import dcc, html
from dash.development.base_component import Component

from apm_analysis.red import OperationRed, RedPoint, ServiceRed
from apm_analysis.slo.burn_rate import SloStatus
from apm_store.query import TimeRange
from apm_ui.attention import MOST_ROWS, Attention
from apm_ui.components.card import card
from apm_ui.components.figure import Line, duration_axis, settled, stacked_outcome, time_series
from apm_ui.components.gauge import inline_bar
from apm_ui.components.slo_cards import slo_line
from apm_ui.components.sparkline import sparkline
from apm_ui.components.status import service_name, status_shape, swatch, tag
from apm_ui.components.table import Column, table
from apm_ui.components.text import NARROW, count, digits3, duration, percent, rate
from apm_ui.theme import service_token

CHART_HEIGHT = 230
LEGEND_HEIGHT = 22
MOST_OPERATIONS = 5
FEWEST_VALUES = 3
# With fewer requests than this share of today's, the time before is no measure: data had only begun to come.
COMPARABLE_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """One service of the services card; `red` is None when it had no requests in the range. `points` are drawn."""

    name: str
    slot: int
    state: str
    why: str
    red: ServiceRed | None
    points: Sequence[RedPoint] = ()


def attention_card(rows: Sequence[Attention]) -> Component:
    """What needs attention, ranked by cost to users; nothing when there is nothing."""
    hidden = len(rows) - MOST_ROWS
    sub = "ranked by what it costs your users" + (f", {hidden} more below in the tables" if hidden > 0 else "")
    return card("Needs attention", sub, [_attention_row(row) for row in rows[:MOST_ROWS]], className="attention")


def _attention_row(row: Attention) -> Component:
    return html.Div(
        [
            status_shape(row.state),
            html.Div(
                [
                    html.P([html.Span(row.subject, className="bold"), f" {row.problem}"]),
                    html.P(row.effect, className="attention-effect"),
                ],
                className="attention-words",
            ),
            html.Span(_attention_line(row), className="hide-small"),
            dcc.Link([row.link_text, " →"], href=row.href, className="attention-link"),
        ],
        className="attention-row",
    )


def _attention_line(row: Attention) -> Component | None:
    """The row's values as a sparkline, once there are enough of them to show a course."""
    color = "critical-fill" if row.state == "critical" else "warn-fill"
    return sparkline(row.values, color=color, width=84) if len(row.values) >= FEWEST_VALUES else None


def services_card(rows: Sequence[ServiceRow], href: Callable[[str], str], step_words: str) -> Component:
    """Every service, worst first, with the reason; silent ones are listed too."""
    columns: list[Column[ServiceRow]] = [
        Column("", lambda row: status_shape(row.state), width="36px"),
        Column("Service", lambda row: service_name(row.name, row.slot), is_name=True),
        Column("Requests", _requests_line, width="112px"),
        Column("Rate", lambda r: rate(r.red.rate_per_second) if r.red else None, is_number=True, width="86px"),
        Column("Failed", _failed_cell, is_number=True, width="74px"),
        Column("p50", lambda r: _time(r.red.p50_ns) if r.red else None, is_number=True, width="76px", hide="narrow"),
        Column("p95", lambda r: _time(r.red.p95_ns) if r.red else None, is_number=True, width="76px"),
        Column("p99", lambda r: _time(r.red.p99_ns) if r.red else None, is_number=True, width="76px"),
        Column("Apdex", _apdex_cell, is_number=True, width="66px", hide="narrow"),
        Column("Why", _why_cell, width="112px"),
    ]
    sub = f"{len(rows)}, worst first; requests in {step_words} steps"
    wide = table(columns, rows, label="Services, worst first", link=lambda row: href(row.name), row_height=39)
    narrow = [_service_line(row, href(row.name)) for row in rows]
    body = [html.Div(wide, className="hide-small"), html.Div(narrow, className="only-small")]
    return card("Services", sub, body, className="services-card")


def _service_line(row: ServiceRow, href: str) -> Component:
    """A service in two lines, for a narrow window."""
    name = dcc.Link(service_name(row.name, row.slot), href=href, className="row-link")
    figures = (
        [
            html.Span(rate(row.red.rate_per_second, "req")),
            html.Span(
                f"{percent(row.red.failed_share)} failed", className="critical" if row.state == "critical" else ""
            ),
            html.Span(f"p95 {duration(row.red.p95_ns)}"),
        ]
        if row.red
        else [html.Span(row.why)]
    )
    head = [status_shape(row.state), name, _why_cell(row) if row.red else None]
    line = html.Span(_requests_line(row), className="end")
    return html.Div(
        [html.Div([*head, line], className="row"), html.Div(figures, className="line-figures")], className="slo-line"
    )


def _requests_line(row: ServiceRow) -> Component:
    values = [point.count or None for point in row.points]
    return sparkline(values, color=service_token(row.slot), label=f"Requests of {row.name} over time")


def _failed_cell(row: ServiceRow) -> Component | str | None:
    if row.red is None:
        return None
    shown = percent(row.red.failed_share)
    return (
        html.Span(shown, className=f"{row.state} bold") if row.state == "critical" and row.red.failed_count else shown
    )


def _time(ns: float | None) -> str | None:
    return duration(ns) if ns is not None else None


def _apdex_cell(row: ServiceRow) -> str | None:
    return f"{row.red.apdex:.2f}" if row.red and row.red.apdex is not None else None


def _why_cell(row: ServiceRow) -> Component:
    return tag(row.why, "" if row.state in {"ok", "unknown"} else row.state) if row.why else html.Span()


def slo_card(slos: Sequence[SloStatus], href: Callable[[str], str], all_href: str) -> Component:
    """Every objective with its gauge, worst first; without any, where they come from."""
    link = dcc.Link("All SLOs", href=all_href)
    if not slos:
        words = html.P("No objectives yet. The SLOs page shows where an OpenSLO file goes.", className="muted")
        return card("SLOs", "", html.Div(words, className="card-body"), link=link)
    lines = [slo_line(status, href(status.objective.name)) for status in slos[:5]]
    return card("SLOs", f"{len(slos)}, worst first", lines, link=link, className="slo-lines")


def outcome_card(points: Sequence[RedPoint], step_ns: int, span: TimeRange, measured: TimeRange) -> Component:
    """Requests over time by how they ended; the legend's rates are those of the `measured` part of the range."""
    seconds = max(1e-9, measured.duration_ns / 1e9)
    client = sum(point.client_error_count for point in points)
    failed = sum(point.failed_count for point in points)
    ok = sum(point.count for point in points) - client - failed
    legend = [("bar", "OK", ok), ("warn-fill", "4xx", client), ("critical-fill", "Failed", failed)]
    label = f"Requests over time: {count(ok)} OK, {count(client)} 4xx, {count(failed)} failed."
    drawn = settled(points, step_ns, span.end_ns)
    chart = stacked_outcome("overview-outcome", drawn, step_ns, span, label=label, height=CHART_HEIGHT)
    keys = [
        html.Span(
            [html.I(className="swatch", style={"background": f"var(--{color})"}), f"{name} {rate(n / seconds, 'req')}"]
        )
        for color, name, n in legend
    ]
    body = html.Div([chart, html.Div(keys, className="legend")], className="card-body")
    return card("Requests by outcome", f"req/s and failures per minute, {duration(step_ns)} steps", body)


def latency_card(points: Sequence[RedPoint], step_ns: int, span: TimeRange, words: str) -> Component:
    """The percentiles of request durations over time."""
    lines = [
        _percentile("p99", [point.p99_ns for point in points], 1.1, "dash", "@text2"),
        _percentile("p95", [point.p95_ns for point in points], 1.6, "solid", "@text"),
        _percentile("p50", [point.p50_ns for point in points], 1.3, "dot", "@text"),
    ]
    axis, is_log = duration_axis([value for line in lines for value in line.values])
    present = [value for value in lines[1].values if value is not None]
    label = f"p95 of request durations over time, last {duration(present[-1])}." if present else "No requests."
    starts = [point.start_ns + step_ns // 2 for point in points]
    chart = time_series(
        "overview-latency", lines, starts, span, label=label, height=CHART_HEIGHT + LEGEND_HEIGHT, yaxis=axis
    )
    sub = f"{words}, percentiles per {duration(step_ns)}" + (", log scale" if is_log else "")
    return card("Latency", sub, html.Div(chart, className="card-body"))


def _percentile(name: str, values: Sequence[float | None], width: float, dash: str, color: str) -> Line:
    return Line(name, values, [duration(value) for value in values], color, width, dash)


def time_card(
    operations: Sequence[OperationRed],
    slots: Mapping[str, int],
    measured: TimeRange,
    href: Callable[[OperationRed], str],
) -> Component:
    """The operations that take most time in all; rates are those of the `measured` part of the range."""
    seconds = max(1e-9, measured.duration_ns / 1e9)
    top = max((one.total_ns for one in operations), default=0) or 1
    columns: list[Column[OperationRed]] = [
        Column(
            "Service", lambda one: service_name(one.service, slots.get(one.service, 99)), width="132px", hide="small"
        ),
        Column("Operation", lambda one: _operation(one, slots), is_name=True),
        Column("Rate", lambda one: rate(one.rate_per_second), is_number=True, width="96px", hide="small"),
        Column(
            "Time spent per second",
            lambda one: inline_bar(one.total_ns / top, f"{duration(one.total_ns / seconds)}/s"),
            hide="small",
            width="32%",
        ),
        Column("p50", lambda one: _time(one.p50_ns), is_number=True, width="88px", hide="narrow"),
        Column("p95", lambda one: _time(one.p95_ns), is_number=True, width="84px"),
        Column("Failed", lambda one: percent(one.failed_share), is_number=True, width="84px"),
    ]
    shown = operations[:MOST_OPERATIONS]
    sub = f"{len(shown)} of {len(operations)} operations by total time"
    return card("Where the time goes", sub, table(columns, shown, label="Operations by total time", link=href))


def _operation(one: OperationRed, slots: Mapping[str, int]) -> Component:
    mark = html.Span(swatch(slots.get(one.service, 99)), className="only-narrow narrow-swatch")
    return html.Span([mark, html.Span(one.operation, className="cut")], className="bold row", title=one.operation)


def change_text(now: int, before: int) -> str:
    """How a count changed: +3.1 % on the time before; "" without enough to compare with."""
    if before < now * COMPARABLE_SHARE or not before:
        return ""
    change = (now - before) / before
    sign = "+" if change > 0 else "−"
    return f", {sign}{digits3(abs(change) * 100)}{NARROW}% on before" if change else ", as before"
