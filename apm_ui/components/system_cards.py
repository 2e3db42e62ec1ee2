"""The cards of the System page: counts and their sums, disk, prune log, configuration and versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dash import html
from dash.development.base_component import Component

from apm_store.query import PruneEntry, StoreHealth, StoreStats
from apm_ui.collector_state import CollectorState
from apm_ui.components.card import card
from apm_ui.components.gauge import inline_bar
from apm_ui.components.status import status_shape
from apm_ui.components.table import Column, table
from apm_ui.components.text import MISSING, bytes_, clock, count, duration, percent, plural, rate, resolved_range

ITEMS = {"traces": "Spans", "metrics": "Data points", "logs": "Log records"}
OUTCOMES = ("accepted", "rejected", "dropped", "refused", "pending")
REASONS = {
    "disk_full": "disk full",
    "failure": "a mistake of the collector, which its log tells of",
    "histogram": "a histogram whose buckets or scale cannot be",
    "invalid_span_id": "no valid span id",
    "invalid_trace_id": "no valid trace id",
    "no_name": "a metric without a name",
    "no_value": "a data point without a value",
    "overload": "too much at once",
    "store_failed": "the store failed",
    "temporality": "neither delta nor cumulative",
    "too_large": "too large",
    "undecodable": "cannot be decoded",
    "unauthorized": "no or wrong token",
}
PRUNE_REASONS = {"size": "over the limit", "age": "too old", "disk": "disk nearly full", "request": "asked for"}
MIN_FORECAST_SPANS = 10_000  # below, what every store takes from its start weighs too much


@dataclass(frozen=True, slots=True)
class _Reason:
    """Why items or requests of a signal were not stored, and how many."""

    signal: str
    outcome: str
    words: str
    text: str


def total(value: int | Mapping[str, int]) -> int:
    """A count, also of one that is kept by reason."""
    return sum(value.values()) if isinstance(value, Mapping) else value


def _whole(n: int | None) -> str:
    """A count with all its digits, so that the reader can add up."""
    return MISSING if n is None else f"{n:,}"


def received_card(counts: Mapping[str, Mapping[str, Any]], collector: CollectorState) -> Component:
    """What became of everything received, by signal, with the check of the sum; below it the reasons."""
    if collector.said is None:
        words = f" The collector at {collector.address} gives no counts: {collector.reason}. Why it is so says "
        shape = status_shape("unknown", "No answer")
        return card("Received", "", html.P([shape, words, html.Code("spanwise doctor"), "."], className="card-body"))
    columns: list[Column[str]] = [
        Column("Signal", lambda name: ITEMS.get(name, name), is_name=True),
        Column("Received", lambda name: html.B(_whole(counts[name]["received"])), is_number=True),
        *(_outcome_column(counts, outcome) for outcome in OUTCOMES),
        Column("Adds up", lambda name: _sum_check(counts[name]), width="108px"),
    ]
    body = table(columns, list(counts), label="Items received by signal")
    return card("Received", "= accepted + rejected + dropped + refused + without an outcome yet, in items", body)


def _outcome_column(counts: Mapping[str, Mapping[str, Any]], outcome: str) -> Column[str]:
    title = "No outcome yet" if outcome == "pending" else outcome.capitalize()
    return Column(title, lambda name: _whole(total(counts[name][outcome])), is_number=True, hide="small")


def _sum_check(counts: Mapping[str, Any]) -> Component:
    is_whole = counts["received"] == sum(total(counts[outcome]) for outcome in OUTCOMES) and counts["pending"] >= 0
    return html.Span(
        [status_shape("ok" if is_whole else "critical"), " yes" if is_whole else " no"], className="nowrap"
    )


def reason_card(counts: Mapping[str, Mapping[str, Any]]) -> Component | None:
    """Why items and requests were not stored; None when all were."""
    rows = list(_reasons(counts))
    if not rows:
        return None
    columns: list[Column[_Reason]] = [
        Column("Signal", lambda row: row.signal, width="104px"),
        Column("Outcome", lambda row: row.outcome, width="20%", hide="small"),
        Column("Because", lambda row: html.Span(row.words, title=row.words)),
        Column("How many", lambda row: row.text, is_number=True, width="128px"),
    ]
    body = table(columns, rows, label="Why items were not stored", row_height=28)
    return card("Not stored", "since the collector started; senders send again what was refused for want of room", body)


def _reasons(counts: Mapping[str, Mapping[str, Any]]) -> Iterator[_Reason]:
    for signal, of_signal in counts.items():
        name = ITEMS.get(signal, signal)
        for outcome in ("rejected", "dropped", "refused"):
            for reason, items in sorted(of_signal[outcome].items()):
                yield _Reason(name, outcome, REASONS.get(reason, reason), plural(items, "item"))
        for reason, requests in sorted(of_signal["refused_requests"].items()):
            yield _Reason(name, "refused whole", REASONS.get(reason, reason), plural(requests, "request"))


def stored_card(health: StoreHealth) -> Component:
    """What the store made of what it took, by signal."""
    columns: list[Column[str]] = [
        Column("Signal", lambda name: ITEMS.get(name, name), is_name=True),
        Column("Accepted", lambda name: html.B(_whole(health.accepted[name])), is_number=True),
        Column("Stored", lambda name: _whole(health.stored.get(name)), is_number=True, hide="small"),
        Column("Duplicates", lambda name: _whole(health.duplicates.get(name)), is_number=True, hide="small"),
        Column("Waiting", lambda name: _whole(health.waiting.get(name)), is_number=True, hide="small"),
        Column("Adds up", lambda name: _store_check(health, name), width="84px"),
    ]
    names = [name for name in ITEMS if name in health.accepted]
    body = table(columns, names, label="Items in the store by signal")
    return card("Stored", "accepted = stored + duplicates + waiting, since the store was made", body)


def _store_check(health: StoreHealth, name: str) -> Component:
    parts = sum(by.get(name, 0) for by in (health.stored, health.duplicates, health.waiting))
    is_whole = health.accepted[name] == parts
    return html.Span(
        [status_shape("ok" if is_whole else "critical"), " yes" if is_whole else " no"], className="nowrap"
    )


def disk_card(health: StoreHealth, stats: StoreStats, now_ns: int) -> Component:
    """Bytes on disk against their budget, and when it is full at the present rate."""
    share = health.bytes_on_disk / health.budget_bytes if health.budget_bytes else 0.0
    raw_since = "everything" if health.raw_since_ns is None else f"since {clock(health.raw_since_ns, now_ns)}"
    facts = {
        "Limit of the data directory": bytes_(health.budget_bytes),
        "Free on the disk": bytes_(health.disk_free_bytes),
        "Write-ahead logs": bytes_(health.wal_bytes),
        "Segments of raw data": count(health.segments),
        "Raw data kept": raw_since,
    }
    used = inline_bar(share, f"{bytes_(health.bytes_on_disk)}, {percent(share, 1)}")
    body = [used, html.P(forecast(health, stats), className="text2"), _facts(facts)]
    return card("Disk", "the whole data directory", html.Div(body, className="card-body stack"))


def forecast(health: StoreHealth, stats: StoreStats) -> str:
    """When the budget is full at the present rate, in one sentence; the oldest raw data goes then."""
    left = health.budget_bytes - health.bytes_on_disk
    if health.raw_since_ns is not None:
        return "The budget is in use: the oldest raw data goes as new arrives; roll-ups stay."
    if stats.spans < MIN_FORECAST_SPANS:
        return "Too little is stored to tell how fast it grows."
    bytes_per_s = stats.spans_per_second * stats.bytes_on_disk / stats.spans
    if not bytes_per_s:
        return "Nothing arrives at present, so it does not grow."
    first = "The disk is full" if health.disk_free_bytes < left else "The limit is reached"
    when = duration(min(left, health.disk_free_bytes) / bytes_per_s * 1e9)
    return f"{first} in about {when} at {rate(stats.spans_per_second, 'spans')}; then the oldest raw data goes."


def prune_card(health: StoreHealth, now_ns: int) -> Component:
    """What was removed to stay within the limits, latest first."""
    if not health.prunes:
        words = "Nothing was removed so far."
        return card("Removed", "raw data only; roll-ups stay", html.P(words, className="card-body muted"))
    entries = sorted(health.prunes, key=lambda entry: -entry.time_ns)
    columns: list[Column[PruneEntry]] = [
        Column("When", lambda entry: clock(entry.time_ns, now_ns), is_name=True),
        Column("Why", lambda entry: PRUNE_REASONS.get(entry.reason, entry.reason), width="124px"),
        Column("Range", lambda entry: resolved_range(entry.first_ns, entry.last_ns, now_ns), width="25%", hide="small"),
        Column("Spans", lambda entry: count(entry.spans), is_number=True, hide="small"),
        Column("Data points", lambda entry: count(entry.data_points), is_number=True, hide="narrow"),
        Column("Log records", lambda entry: count(entry.log_records), is_number=True, hide="narrow"),
        Column("Traces kept", lambda entry: count(entry.kept_traces), is_number=True, hide="narrow"),
        Column("Freed", lambda entry: bytes_(entry.freed_bytes), is_number=True),
    ]
    body = table(columns, entries, label="What was removed", row_height=28)
    return card("Removed", "raw data only; roll-ups stay", body)


def configuration_card(collector: CollectorState, now_ns: int) -> Component:
    """Which configuration and which version run, and where the same figures are for machines."""
    said = collector.said or {}
    config = said.get("config") or {}
    facts = {"Collector": f"http://{collector.address}"}
    if said:
        facts |= {
            "Version": str(said.get("version", "")),
            "Started": clock(int(said["started_ns"]), now_ns),
            "Memory": bytes_(said["rss_bytes"]),
            "CPU time": duration(said["cpu_s"] * 1e9),
        }
    if config.get("checkpoint"):
        facts["Configuration"] = f"checkpoint {config['checkpoint']}"
        facts["In use"] = f"since {clock(config['since_ns'], now_ns)}" if config.get("since_ns") else MISSING
    facts["For Prometheus"] = f"http://{collector.address}/metrics"
    return card("Collector", "this process alone", html.Div(_facts(facts), className="card-body"))


def _facts(facts: Mapping[str, str]) -> Component:
    return html.Dl(
        [part for name, value in facts.items() for part in (html.Dt(name), html.Dd(value))], className="facts"
    )
