"""SLOs: which objectives burn, how much error budget is left, and when it is gone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dash import dcc, html
from dash.development.base_component import Component

from apm_analysis.slo.burn_rate import SloStatus, evaluate_all
from apm_analysis.slo.objective import Latency
from apm_analysis.slo.openslo import load_objectives
from apm_store.query import HOUR_NS
from apm_ui.components.card import card, code_line, copy_button, header, note
from apm_ui.components.gauge import gauge
from apm_ui.components.slo_cards import (
    SMALL_BUDGET,
    burn_down,
    burn_table,
    failures_text,
    gone_text,
    hour_window,
    left_text,
    lowest,
    rule_list,
    slo_line,
    spent_text,
    target_text,
)
from apm_ui.components.status import service_name, status_shape
from apm_ui.components.table import Column, table
from apm_ui.components.text import burn, count, duration, minute_clock, percent, plural
from apm_ui.filters import Filters
from apm_ui.page import Page
from apm_ui.sources import Sources

PAGE = Page(slug="slos", path="/slos", title="SLOs", order=50, icon="slos", group="Promises")

EXAMPLE = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: checkout-succeeds
  displayName: Checkout succeeds
spec:
  service: storefront
  indicator:
    spec:
      ratioMetric:
        counter: true
        bad: {metricSource: {type: spanwise, spec: {operation: POST /checkout, outcome: failed}}}
        total: {metricSource: {type: spanwise, spec: {operation: POST /checkout}}}
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: 0.995}]
"""


@dataclass(frozen=True, slots=True)
class SlosModel:
    """Every objective's standing, worst first; `problems` are files that could not be read."""

    filters: Filters
    now_ns: int
    directory: str
    statuses: tuple[SloStatus, ...]
    problems: tuple[str, ...]
    slots: dict[str, int]

    @property
    def is_empty(self) -> bool:
        """Whether there is no objective."""
        return not self.statuses

    @property
    def selected(self) -> SloStatus:
        """The objective that the URL names, else the worst."""
        wanted = self.filters.get("slo")
        return next((one for one in self.statuses if one.objective.name == wanted), self.statuses[0])


def load(sources: Sources, filters: Filters) -> SlosModel:
    """Read the objectives' files and evaluate them as of now."""
    found = load_objectives(sources.objectives_dir)
    chosen = [one for one in found.objectives if filters.service in {None, one.service}]
    now_ns = time.time_ns()
    return SlosModel(
        filters=filters,
        now_ns=now_ns,
        directory=str(sources.objectives_dir),
        statuses=tuple(evaluate_all(chosen, sources.store, now_ns)),
        problems=found.problems,
        slots={service.name: service.slot for service in sources.store.traces.services()},
    )


def view(model: SlosModel) -> Component:
    """The list, worst first, then the selected objective: budget, projection, burn-down, burn table, rules."""
    problems = [note(problem, "warn") for problem in model.problems]
    if model.is_empty:
        return html.Div([header("No objectives yet", model.directory), *problems, _empty(model)], className="stack")
    chosen = model.selected
    return html.Div(
        [header(_title(model.statuses), _sub(model, chosen)), *problems, _list(model, chosen), _detail(model, chosen)],
        className="stack",
    )


def _empty(model: SlosModel) -> Component:
    who = f" for {model.filters.service}" if model.filters.service else ""
    return html.Section(
        [
            html.H2(f"There is no objective{who}"),
            html.P("Put an OpenSLO v1 file with the ending .yaml into this directory; it is read by itself."),
            code_line(model.directory),
            html.Div([html.H3("A small example"), copy_button(EXAMPLE, "Copy the example")], className="row spread"),
            html.Pre(EXAMPLE, className="code-block"),
        ],
        className="card state",
    )


def _title(statuses: Sequence[SloStatus]) -> str:
    burning = sum(status.state == "critical" for status in statuses)
    warned = sum(status.state == "warn" for status in statuses)
    measured = sum(status.budget_left is not None for status in statuses)
    of = f"of {plural(len(statuses), 'objective')}"
    if burning:
        return f"{burning} {of} {'is' if burning == 1 else 'are'} burning"
    if warned:
        return f"{warned} {of} {'needs' if warned == 1 else 'need'} attention"
    if measured < len(statuses):
        return f"{measured} {of} {'is' if measured == 1 else 'are'} on target, the others are not measured"
    return "The objective is on target" if measured == 1 else f"All {measured} objectives are on target"


def _sub(model: SlosModel, chosen: SloStatus) -> str:
    window = duration(chosen.objective.window_ns)
    since = _since(model, chosen)
    measured = f"{percent(chosen.coverage_share, 1)} of its minutes measured"
    return f"Rolling {window} to {minute_clock(model.now_ns, model.now_ns)} · {measured}{f', {since}' if since else ''}"


def _since(model: SlosModel, status: SloStatus) -> str:
    """From when on an objective was measured, where that is not its whole window; else ""."""
    first_ns = status.series[0][0] if status.series else 0
    is_young = first_ns > model.now_ns - status.objective.window_ns + HOUR_NS
    return f"since {minute_clock(first_ns, model.now_ns)}" if is_young else ""


def _list(model: SlosModel, chosen: SloStatus) -> Component:
    columns: list[Column[SloStatus]] = [
        Column("", lambda one: status_shape(one.state), width="36px"),
        Column("Objective", lambda one: html.Span(one.objective.display_name, className="bold"), is_name=True),
        Column("Service", lambda one: _service(model, one), width="132px", hide="small"),
        Column("Kind", lambda one: html.Span(_kind(one), className="muted"), width="96px", hide="narrow"),
        Column("Target", target_text, is_number=True, width="80px", hide="small"),
        Column("Attained", _attained, is_number=True, width="96px", hide="small"),
        Column("Budget left", _budget_cell, width="19%"),
        Column("Burn 1 h", lambda one: _burn_cell(one, "1\u202fh"), is_number=True, width="84px", hide="small"),
        Column("Burn 1 d", lambda one: _burn_cell(one, "1\u202fd"), is_number=True, width="84px", hide="narrow"),
        Column("Budget gone in", _gone_cell, width="136px", arrow="↑"),
    ]
    wide = table(
        columns,
        model.statuses,
        label="Objectives, worst first",
        link=lambda one: _href(model, one),
        is_selected=lambda one: one is chosen,
    )
    narrow = [slo_line(one, _href(model, one)) for one in model.statuses]
    body = [html.Div(wide, className="hide-small"), html.Div(narrow, className="only-small")]
    return card("Objectives", f"{len(model.statuses)}, worst first", body)


def _href(model: SlosModel, status: SloStatus) -> str:
    return model.filters.with_params(slo=status.objective.name).link(PAGE.path)


def _service(model: SlosModel, status: SloStatus) -> Component:
    return service_name(status.objective.service, model.slots.get(status.objective.service, 99))


def _kind(status: SloStatus) -> str:
    return "latency" if isinstance(status.objective.indicator, Latency) else "availability"


def _attained(status: SloStatus) -> str | None:
    """What was attained, with one digit more than tells it from the target."""
    attained = status.attained
    if attained is None:
        return None
    target = status.objective.target
    differs = next((d for d in range(2, 6) if round(attained * 100, d) != round(target * 100, d)), 5)
    return percent(attained, differs + 1)


def _budget_cell(status: SloStatus) -> Component:
    if status.budget_left is None:
        return html.Span("not measured", className="muted")
    classes = f"number {status.state} bold" if status.state == "critical" else "number"
    bar = html.Span(gauge(status.budget_left, status.state), className="grow hide-small")
    return html.Span([bar, html.Span(left_text(status), className=classes)], className="row budget-cell")


def _burn_cell(status: SloStatus, name: str) -> Component | str | None:
    window = next((window for window in status.windows if window.name == name), None)
    if window is None or window.burn is None:
        return None
    is_cause = status.state == "critical" and any(rule.is_firing and rule.long == name for rule in status.rules)
    return html.Span(burn(window.burn), className="critical bold") if is_cause else burn(window.burn)


def _gone_cell(status: SloStatus) -> Component:
    is_urgent = status.state == "critical" and status.exhaustion.kind in {"gone_in", "spent"}
    return html.Span(gone_text(status), className="critical bold" if is_urgent else "text2")


def _detail(model: SlosModel, status: SloStatus) -> Component:
    window = duration(status.objective.window_ns)
    head = html.Div(
        [
            html.H2([status_shape(status.state), status.objective.display_name], className="slo-name"),
            html.P(_definition(status), className="text2"),
        ],
        className="slo-head",
    )
    chart = html.Div(
        [
            _part_head("Budget left", _chart_words(model, status)),
            html.Div(burn_down(status, model.now_ns), className="card-body"),
        ],
        className="slo-chart",
    )
    side = html.Div(
        [
            _part_head("Burn rate", f"1× spends the budget in exactly {window}"),
            burn_table(status.windows),
        ],
        className="slo-side",
    )
    rules = html.Div(
        [
            _part_head("Alert rules", f"{sum(r.is_firing for r in status.rules)} of {len(status.rules)} firing"),
            rule_list(status.rules),
        ],
        className="slo-rules",
    )
    is_measured = status.budget_left is not None
    verdict = _verdict(model, status) if is_measured else html.P(status.reason, className="slo-head muted")
    parts = [html.Div([chart, side], className="slo-parts"), rules] if is_measured else []
    return html.Section([head, verdict, *parts], className="card", key=status.objective.name)


def _chart_words(model: SlosModel, status: SloStatus) -> str:
    since, window = _since(model, status), duration(status.objective.window_ns)
    when = f"{since}; {window} window" if since else window
    scale = ", log scale below −100\u202f%" if lowest(status) < -1 else ""
    return f"share of {failures_text(status.allowed_bad)} allowed failures, {when}{scale}"


def _part_head(title: str, sub: str) -> Component:
    return html.Div([html.H3(title), html.Span(sub, className="sub")], className="card-head")


def _definition(status: SloStatus) -> str:
    objective, indicator = status.objective, status.objective.indicator
    what = (
        f"{indicator.operation} requests to {objective.service}"
        if indicator.operation
        else f"requests to {objective.service}"
    )
    good = "do not fail"
    if isinstance(indicator, Latency):
        good = f"do not fail and answer within {duration(indicator.threshold_ns)}"
    sentence = f"{target_text(status)} of {what} {good}, over {duration(objective.window_ns)}."
    return sentence if objective.description == objective.name else f"{sentence} {objective.description}"


def _verdict(model: SlosModel, status: SloStatus) -> Component:
    tone = status.state if status.state in {"critical", "warn"} else ""
    big = html.Div(
        [
            html.Div("Error budget left", className="small muted"),
            html.Div(left_text(status), className=f"budget-figure {tone}"),
            gauge(status.budget_left, status.state, is_tall=True),
            html.Div(_left_words(status), className="small muted budget-words"),
        ],
        className="budget",
    )
    return html.Div(
        [big, html.P(_sentence(model, status), className="verdict"), _action(model, status)], className="slo-verdict"
    )


def _left_words(status: SloStatus) -> str:
    if status.allowed_bad < SMALL_BUDGET:
        return spent_text(status)
    left, allowed = status.allowed_bad - status.bad, failures_text(status.allowed_bad)
    return (
        f"{count(-left)} failures over the {allowed} allowed"
        if left < 0
        else f"{count(left)} of {allowed} failures left"
    )


def _sentence(model: SlosModel, status: SloStatus) -> str:
    projection = status.exhaustion
    if projection.kind == "gone_in" and projection.duration_ns:
        at = minute_clock(model.now_ns + projection.duration_ns, model.now_ns)
        return f"{projection.sentence} It would be gone at about {at}."
    return projection.sentence


def _action(model: SlosModel, status: SloStatus) -> Component | None:
    """The link to what burns the budget, for the last hour."""
    hour = hour_window(status)
    if hour is None or not hour.bad:
        return None
    indicator = status.objective.indicator
    chosen = replace(model.filters.only_shared().with_range("1h"), service=indicator.service)
    words = f"See the {plural(hour.bad, 'failed trace')}"
    if isinstance(indicator, Latency):
        threshold_ms = f"{indicator.threshold_ns / 1e6:g}"
        chosen = chosen.with_params(operation=indicator.operation, min_duration_ms=threshold_ms)
        words = f"See traces above {duration(indicator.threshold_ns)}"
    else:
        chosen = chosen.with_params(operation=indicator.operation, status="error")
    return dcc.Link(words, href=chosen.link("/traces"), className="button primary")
