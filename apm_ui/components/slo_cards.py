"""An objective's standing: its line with gauge, the burn table, the rules, the burn-down chart."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dash import dcc, html
from dash.development.base_component import Component

from apm_analysis.slo.burn_rate import BurnWindow, RuleStatus, SloStatus
from apm_store.query import HOUR_NS, MINUTE_NS, TimeRange
from apm_ui.components.figure import figure, plot_ms, time_axis
from apm_ui.components.gauge import gauge, inline_bar
from apm_ui.components.status import status_shape
from apm_ui.components.table import Column, table
from apm_ui.components.text import burn, count, duration, percent

PAGE_BURN = 14.4
MOST_POINTS = 400
# Below this many allowed failures, parts of a failure are told.
SMALL_BUDGET = 10
_RULE_NAMES = {"page": "Page", "ticket": "Ticket", "quick": "fast", "slow": "slow"}


def target_text(status: SloStatus) -> str:
    """The objective's target as percent with no more digits than it has."""
    shown = f"{status.objective.target * 100:.6f}".rstrip("0").rstrip(".")
    return f"{shown}\u202f%"


def hour_window(status: SloStatus) -> BurnWindow | None:
    """The burn of the last hour; None for an objective whose window is shorter."""
    return next((window for window in status.windows if window.window_ns == HOUR_NS), None)


def left_text(status: SloStatus) -> str:
    """How much of the budget is left: 8.4 %, or −12.0 % when it is overspent."""
    return percent(status.budget_left, 1)


def failures_text(n: float) -> str:
    """How many failures are allowed; a small budget shows its first digits, so that it is not taken for none."""
    if n >= SMALL_BUDGET or n == round(n):
        return count(n)
    return f"{n:.1f}" if n >= 0.095 else f"{n:.1g}"


def spent_text(status: SloStatus) -> str:
    """What was spent of the budget: 19 failed, 0.8 allowed so far."""
    words = status.objective.indicator.bad_words
    return f"{count(status.bad)} {words}, {failures_text(status.allowed_bad)} allowed so far"


def gone_text(status: SloStatus) -> str:
    """When the budget is gone, in a few words."""
    projection = status.exhaustion
    if status.budget_left is None:
        return "no data"
    if projection.kind == "gone_in":
        return duration(projection.duration_ns)
    return {"lasts": "lasts", "spent": "spent", "too_few": "too few requests"}[projection.kind]


def slo_line(status: SloStatus, href: str) -> Component:
    """One objective in three lines: name and target, gauge, what is left and how fast it burns."""
    name = dcc.Link(status.objective.display_name, href=href, className="row-link bold grow")
    head = html.Div(
        [status_shape(status.state), name, html.Span(["target ", target_text(status)], className="muted small nowrap")],
        className="row",
    )
    if status.budget_left is None:
        return html.Div([head, html.Div(status.reason, className="slo-words muted")], className="slo-line")
    hour = hour_window(status)
    words = {"gone_in": f"gone in {gone_text(status)}", "lasts": "lasts the window"}.get(status.exhaustion.kind)
    foot = html.Div(
        [
            html.Span(
                [left_text(status), " left"], className=f"bold {status.state if status.state != 'ok' else 'text2'}"
            ),
            html.Span(words or gone_text(status), className="text2 cut"),
            html.Span(f"{burn(hour.burn)} in {hour.name}" if hour else "", className="muted end nowrap"),
        ],
        className="row slo-words",
    )
    return html.Div([head, gauge(status.budget_left, status.state), foot], className="slo-line")


def burn_table(windows: Sequence[BurnWindow]) -> Component:
    """Requests, failures and burn rate over every window that ends now."""
    top = max((window.burn or 0 for window in windows), default=0) or 1
    columns: list[Column[BurnWindow]] = [
        Column("Window", lambda window: window.name, width="18%"),
        Column("Requests", lambda window: count(window.total), is_number=True, width="19%"),
        Column("Failed", lambda window: count(window.bad), is_number=True, width="16%"),
        Column("Share", lambda w: percent(w.bad / w.total) if w.total else None, is_number=True, width="18%"),
        Column("Burn", lambda window: _burn_cell(window, top), is_number=True, width="29%"),
    ]
    return table(columns, windows, label="Burn rate by window", row_height=28)


def _burn_cell(window: BurnWindow, top: float) -> Component | None:
    if window.burn is None:
        return None
    color = "critical-fill" if window.burn >= PAGE_BURN else "warn-fill" if window.burn >= 1 else "bar"
    return inline_bar(window.burn / top, burn(window.burn), color=color)


def rule_list(rules: Sequence[RuleStatus]) -> Component:
    """The alert rules with their windows, the present burn rates, and whether they fire or how close they are."""
    return html.Div([_rule(rule) for rule in rules], className="rules")


def _rule(rule: RuleStatus) -> Component:
    firing_state = "critical" if rule.severity == "page" else "warn"
    is_judged = rule.long_burn is not None and not rule.note
    state = firing_state if rule.is_firing else "ok" if is_judged else "unknown"
    name = f"{_RULE_NAMES[rule.severity]}, {_RULE_NAMES[rule.speed]}"
    condition = f" {rule.long} and {rule.short} above {rule.factor:.3g}×"
    now = f"now {burn(rule.long_burn)} and {burn(rule.short_burn)}"
    verdict = html.Span("firing", className=firing_state) if rule.is_firing else rule.note or _closeness(rule)
    lines = [
        html.Div([html.Span(name, className="bold"), html.Span(condition, className="muted")]),
        html.Div([now, ", " if verdict else "", verdict], className="small text2"),
    ]
    word = "Firing" if rule.is_firing else "Not firing" if is_judged else "Not judged"
    return html.Div([status_shape(state, word), html.Div(lines)], className="rule")


def _closeness(rule: RuleStatus) -> str:
    """How near the window that holds the rule back is to its limit, once it is more than half way."""
    shares = [((rule.long_burn or 0) / rule.factor, rule.long), ((rule.short_burn or 0) / rule.factor, rule.short)]
    share, name = min(shares)
    return f"close: {name} is at {percent(share, 0)}" if 0.5 <= share <= 1 else ""


def burn_down(status: SloStatus, now_ns: int, height: int = 262) -> Component:
    """The budget left since the first measured moment, the diagonal of even spending, where the present rate leads."""
    name = status.objective.display_name
    label = f"Error budget of {name}: {left_text(status)} is left. {status.exhaustion.sentence}"
    points = _thinned([(min(time_ns, now_ns), left) for time_ns, left in status.series])
    first_ns = points[0][0] if points else now_ns - status.objective.window_ns
    shown_ns = max(now_ns - first_ns, MINUTE_NS)
    ahead_ns = min(shown_ns // 6, status.exhaustion.duration_ns or 0) if status.exhaustion.kind == "gone_in" else 0
    span = TimeRange(now_ns - shown_ns, now_ns + max(ahead_ns, shown_ns // 40))
    low = lowest(status)
    ticks = _budget_ticks(low)
    bottom, height_of_all = _place(low), 1 - _place(low)
    layout = {
        "xaxis": time_axis(span),
        "yaxis": {
            "range": [bottom - height_of_all * 0.05, 1 + height_of_all * 0.06],
            "rangemode": "normal",
            "tickvals": [_place(tick) for tick in ticks],
            "ticktext": [percent(tick, 0) for tick in ticks],
        },
        "margin": {"r": 104, "l": 66},
        "annotations": [_now_label(status, now_ns), *([_even_label(span, now_ns)] if low > -0.5 else [])],
        "hovermode": "x",
    }
    return figure("slos-burn-down", _burn_down_data(status, points, span, now_ns), layout, label=label, height=height)


def lowest(status: SloStatus) -> float:
    """The least budget that was left, at most 0; below −1 the burn-down's scale is logarithmic."""
    return min([0.0, *(left for _, left in status.series if left is not None)])


def _place(left: float) -> float:
    """Where a share of the budget is drawn: as it is down to −100 %, by its logarithm below."""
    return left if left >= -1 else -1 - math.log10(-left)


def _budget_ticks(low: float) -> list[float]:
    """Round shares of the budget from 100 % down to about `low`, few enough to stand apart."""
    if low >= -1:
        return [1.0, 0.5, 0.0] if low > -0.25 else [1.0, 0.5, 0.0, -0.5, -1.0][: 4 if low > -0.75 else 5]
    return [1.0, 0.0, *(-(10.0**power) for power in range(math.floor(math.log10(-low)) + 1))]


def _even_label(span: TimeRange, now_ns: int) -> dict[str, object]:
    at_ns = span.start_ns + (now_ns - span.start_ns) * 3 // 10
    words = {"text": "even spending", "showarrow": False, "font": {"size": 11, "color": "@muted"}}
    return {"x": plot_ms(at_ns), "y": 0.7, "xanchor": "right", "yanchor": "top", "xshift": -4, **words}


def _burn_down_data(
    status: SloStatus, points: Sequence[tuple[int, float | None]], span: TimeRange, now_ns: int
) -> list[dict[str, object]]:
    left = status.budget_left or 0.0
    even = {"color": "@edge", "width": 1, "dash": "dash"}
    data: list[dict[str, object]] = [
        _line([(span.start_ns, 1.0), (now_ns, 0.0)], even, "even spending"),
        _line(
            [*points, (now_ns, left)] if points and points[-1][1] is not None else points,
            {"color": "@accent", "width": 2},
            "left",
        ),
    ]
    projection = status.exhaustion
    if projection.kind == "gone_in" and projection.duration_ns:
        reach_ns = min(projection.duration_ns, span.end_ns - now_ns)
        to = left * (1 - reach_ns / projection.duration_ns)
        ahead = {"color": "@critical-fill", "width": 2, "dash": "dot"}
        data.append(_line([(now_ns, left), (now_ns + reach_ns, to)], ahead, "at this rate"))
    dot_color = f"@{status.state}-fill"
    dot = _line([(now_ns, left)], {"color": dot_color}, "now")
    data.append({**dot, "mode": "markers", "marker": {"size": 7, "color": dot_color}})
    return data


def _line(points: Sequence[tuple[int, float | None]], line: dict[str, object], name: str) -> dict[str, object]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [plot_ms(time_ns) for time_ns, _ in points],
        "y": [None if left is None else _place(left) for _, left in points],
        "customdata": [percent(left, 1) for _, left in points],
        "hovertemplate": "%{customdata} left<extra></extra>" if name == "left" else None,
        "hoverinfo": None if name == "left" else "skip",
        "connectgaps": False,
        "line": line,
    }


def _now_label(status: SloStatus, now_ns: int) -> dict[str, object]:
    return {
        "x": plot_ms(now_ns),
        "y": _place(status.budget_left or 0),
        "text": f"{left_text(status)} left",
        "showarrow": False,
        "xanchor": "left",
        "yanchor": "middle",
        "xshift": 10,
        "font": {"size": 11, "color": "@text"},
    }


def _thinned(series: Sequence[tuple[int, float | None]]) -> list[tuple[int, float | None]]:
    """At most MOST_POINTS points and every gap."""
    step = -(-len(series) // MOST_POINTS) or 1
    last = len(series) - 1
    return [point for i, point in enumerate(series) if i % step == 0 or i == last or point[1] is None]
