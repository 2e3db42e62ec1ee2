"""What needs attention, worst first: facts that follow from the numbers alone, each with its size and a link."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from apm_analysis.red import ServiceRed
from apm_analysis.slo.burn_rate import SloStatus
from apm_analysis.slow_queries import SlowQuery
from apm_store.model import Span
from apm_ui.components.open_spans import place_text
from apm_ui.components.slo_cards import hour_window, spent_text
from apm_ui.components.sql import statement_name
from apm_ui.components.status import SEVERITY
from apm_ui.components.text import count, duration, percent, plural
from apm_ui.filters import Filters

MOST_ROWS = 5
# A service is named when at least this share of its requests failed, and enough came to judge it.
FAILING_SHARE, BADLY_FAILING_SHARE, ENOUGH_REQUESTS = 0.01, 0.05, 20
# A statement is named when it takes more than this share of all database time, and is slow itself.
DOMINANT_SHARE, SLOW_NS = 0.5, 100_000_000


@dataclass(frozen=True, slots=True)
class Attention:
    """One row: `subject` and `problem` make a sentence, `effect` says what it costs; `values` is its sparkline."""

    state: str
    subject: str
    problem: str
    effect: str
    href: str
    link_text: str
    values: tuple[float | None, ...] = ()


def find_attention(
    statuses: Iterable[SloStatus],
    services: Sequence[ServiceRed],
    queries: Sequence[SlowQuery],
    lost: Sequence[Span],
    filters: Filters,
) -> list[Attention]:
    """The worst first; among equals burning objectives, failing services without one, `lost` requests, a statement.

    `lost` are open spans that went silent, the statement is one that takes most of the database time.
    """
    burning = [status for status in statuses if status.state in {"critical", "warn"}]
    spoken_for = {status.objective.service for status in burning}
    rows = [_objective(status, filters) for status in burning]
    rows += [_service(red, filters) for red in services if is_failing(red) and red.service not in spoken_for]
    rows += [_lost(lost, filters)] if lost else []
    rows += [_statement(query, filters) for query in queries[:1] if _is_dominant(query)]
    return sorted(rows, key=lambda row: SEVERITY[row.state])


def is_failing(red: ServiceRed) -> bool:
    """Whether enough of a service's requests failed to say so."""
    return red.count >= ENOUGH_REQUESTS and red.failed_share >= FAILING_SHARE


def failing_state(red: ServiceRed) -> str:
    """The state that follows from the share of failed requests; with too few requests it is unknown."""
    if not is_failing(red):
        return "unknown" if red.failed_count and red.count < ENOUGH_REQUESTS else "ok"
    return "critical" if red.failed_share >= BADLY_FAILING_SHARE else "warn"


def _objective(status: SloStatus, filters: Filters) -> Attention:
    objective, hour = status.objective, hour_window(status)
    if any(rule.is_firing for rule in status.rules) and hour and hour.total:
        what = objective.indicator.operation or objective.service
        share = percent(hour.bad / hour.total)
        problem = f"is burning: {share} of {what} requests {objective.indicator.bad_words} in the last hour."
    elif status.budget_left is not None and status.budget_left < 0:
        total = plural(status.total, "request")
        problem = f"has spent its budget: {count(status.bad)} of {total} {objective.indicator.bad_words}."
    else:
        problem = f"has {percent(status.budget_left, 1)} of its error budget left."
    href = filters.only_shared().with_params(slo=objective.name).link("/slos")
    spent = tuple(None if left is None else 1 - left for _, left in status.series[-60:])
    # What happened in the last hour is said by the problem already.
    effect = status.exhaustion.sentence.partition(" In the last hour")[0]
    if status.budget_left is not None and status.budget_left < 0:
        effect = f"The budget is used up: {spent_text(status)}. {effect.removeprefix('The budget is used up. ')}"
    return Attention(status.state, objective.display_name, problem, effect, href, "Open SLO", spent)


def _service(red: ServiceRed, filters: Filters) -> Attention:
    problem = f"fails {percent(red.failed_share)} of its requests."
    effect = f"{count(red.failed_count)} of {count(red.count)} requests failed; p95 is {duration(red.p95_ns)}."
    link = replace(filters.only_shared(), service=red.service).with_params(status="error").link("/traces")
    shares = tuple(point.failed_count / point.count if point.count else None for point in red.series)
    return Attention(failing_state(red), red.service, problem, effect, link, "See failed traces", shares)


def _lost(lost: Sequence[Span], filters: Filters) -> Attention:
    newest = max(lost, key=lambda span: span.end_ns)
    others = f" and {plural(len(lost) - 1, 'other request')}" if len(lost) > 1 else ""
    at = place_text(newest)
    effect = f"Last heard of {duration(newest.duration_ns)} after the start{f', at {at}' if at else ''}."
    link = filters.only_shared().link(f"/traces/{newest.trace_id}")
    return Attention(
        "warn", newest.name or "(no name)", f"{others} never finished.".lstrip(), effect, link, "Open trace"
    )


def _is_dominant(query: SlowQuery) -> bool:
    return query.share_of_total > DOMINANT_SHARE and (query.p95_ns or 0) >= SLOW_NS


def _statement(query: SlowQuery, filters: Filters) -> Attention:
    problem = f"takes {percent(query.share_of_total, 0)} of database time."
    calls = f"{plural(query.count, 'call')} from {query.service}"
    effect = f"{calls}, p95 {duration(query.p95_ns)}, {duration(query.total_ns)} in all."
    link = filters.only_shared().with_params(statement=query.statement_id).link("/queries")
    return Attention("warn", statement_name(query.text), problem, effect, link, "Open query")
