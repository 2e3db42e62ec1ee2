"""System: whether everything received is stored, how the store does, and what a person must know."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dash import html
from dash.development.base_component import Component

from apm_store.query import StoreHealth, StoreStats
from apm_ui.collector_state import CollectorState, ask_collector
from apm_ui.components.card import Kpi, header, kpi_row, note
from apm_ui.components.system_cards import (
    configuration_card,
    disk_card,
    prune_card,
    reason_card,
    received_card,
    stored_card,
    total,
)
from apm_ui.components.text import MISSING, NARROW, bytes_, clock, count, duration, percent, plural
from apm_ui.filters import Filters
from apm_ui.page import Page
from apm_ui.sources import Sources

PAGE = Page(slug="system", path="/system", title="System", order=90, icon="system")

SLOW_INDEX_S = 5.0
# Refusals after which the sender sends again by itself.
TRANSIENT = {
    "disk_full": "the disk is full",
    "failure": "the collector made a mistake",
    "overload": "too much came at once",
    "store_failed": "the store failed",
}


@dataclass(frozen=True, slots=True)
class SystemModel:
    """What the store and the collector say at one moment."""

    now_ns: int
    health: StoreHealth
    stats: StoreStats
    collector: CollectorState

    @property
    def counts(self) -> Mapping[str, Mapping[str, Any]]:
        """The collector's counts by signal; empty when it does not answer."""
        return self.collector.said["counts"] if self.collector.said else {}

    def sum_of(self, name: str) -> int:
        """One count over all signals and reasons."""
        return sum(total(counts[name]) for counts in self.counts.values())

    def refused(self, reason: str) -> int:
        """How many requests were refused whole for a reason."""
        return sum(counts["refused_requests"].get(reason, 0) for counts in self.counts.values())


def load(sources: Sources, _filters: Filters) -> SystemModel:
    """Ask the store, and the collector as long as it answers at once."""
    store, collector = sources.store, ask_collector(sources.otlp_http, sources.collector_token)
    return SystemModel(time.time_ns(), store.health(), store.stats(), collector)


def view(model: SystemModel) -> Component:
    """The finding, what must be known, the key figures, then the counts with their sums, disk, prunes, versions."""
    notices = [
        note([html.B(notice.text), f" {clock(notice.time_ns, model.now_ns)}"], notice.state)
        for notice in sorted(model.health.notices, key=lambda one: (one.state != "critical", -one.time_ns))
    ]
    parts = [
        header(_title(model), _sub(model)),
        *notices,
        *_configuration_notes(model.collector),
        kpi_row(_kpis(model)),
        received_card(model.counts, model.collector),
        reason_card(model.counts),
        stored_card(model.health),
        html.Div(
            [
                disk_card(model.health, model.stats, model.now_ns),
                configuration_card(model.collector, model.now_ns),
            ],
            className="columns halves",
        ),
        prune_card(model.health, model.now_ns),
    ]
    return html.Div(parts, className="stack")


def _configuration_notes(collector: CollectorState) -> list[Component]:
    """What the collector did not take over, or could not send on."""
    said = collector.said or {}
    refused = (said.get("config") or {}).get("refused")
    notes = (
        [note(f"The configuration file is not in use, the former one runs on. {refused}", "warn")] if refused else []
    )
    problems = {name: one.get("problem") for name, one in (said.get("exporters") or {}).items()}
    return notes + [note(f"Exporter {name}: {problem}", "warn") for name, problem in problems.items() if problem]


def _title(model: SystemModel) -> str:
    """The one thing that matters most now."""
    critical = [notice.text for notice in model.health.notices if notice.state == "critical"]
    full = model.refused("disk_full")
    if critical and full:
        return f"Disk full: {plural(full, 'request')} refused, senders keep their data"
    if critical:
        return critical[0] if len(critical[0]) <= 100 else f"The store needs attention: {critical[0][:80]}…"
    if model.collector.said is None:
        return "The collector does not answer"
    return _count_title(model)


def _count_title(model: SystemModel) -> str:
    """What the counts say when nothing is critical: the first of these that is not nothing."""
    requests = sum(total(counts["refused_requests"]) for counts in model.counts.values())
    sent_back, reason = max((model.refused(reason), reason) for reason in TRANSIENT)
    unusable = requests - sum(model.refused(reason) for reason in TRANSIENT)
    rejected, dropped = model.sum_of("rejected"), model.sum_of("dropped")
    lag = duration(model.health.index_lag_s * 1e9)
    findings = (
        (sent_back, f"{plural(sent_back, 'request')} sent back because {TRANSIENT[reason]}; senders keep their data"),
        (rejected, f"{plural(rejected, 'invalid item')} rejected, everything else is stored"),
        (unusable, f"{plural(unusable, 'request')} could not be used, everything else is stored"),
        (model.health.index_lag_s > SLOW_INDEX_S, f"Everything received is kept, but searchable only after {lag}"),
        (dropped, f"Everything received is stored, but for {plural(dropped, 'item')} that processors dropped"),
        (model.sum_of("received"), "Everything received is stored"),
    )
    return next((text for found, text in findings if found), "Nothing has been received since the collector started")


def _sub(model: SystemModel) -> str:
    if model.collector.said is None:
        return f"Collector at {model.collector.address}: {model.collector.reason} · figures of the store are up to date"
    since = clock(int(model.collector.said["started_ns"]), model.now_ns)
    return f"Since the collector started at {since} · all counted, none sampled"


def _commit_kpi(said: Mapping[str, Any]) -> Kpi:
    """How long commits take, which the collector alone knows: this process only reads the store."""
    p50_ms, p99_ms = said.get("commit_p50_ms"), said.get("commit_p99_ms")
    if p50_ms is None or p99_ms is None:
        why = "none measured yet" if said else "the collector does not answer"
        return Kpi("Commit, p99", MISSING, why)
    return Kpi("Commit, p99", duration(p99_ms * 1e6), f"p50 {duration(p50_ms * 1e6)}, last commits")


def _kpis(model: SystemModel) -> list[Kpi]:
    health, said = model.health, model.collector.said or {}
    limit, held = said.get("in_flight_limit_bytes"), said.get("in_flight_bytes")
    is_low = bool(health.budget_bytes) and health.disk_free_bytes < health.budget_bytes / 100
    return [
        Kpi("Received", count(model.sum_of("received")) if said else MISSING, "items since the collector started"),
        Kpi(
            "Index lag",
            duration(health.index_lag_s * 1e9),
            f"age of the oldest that waits, {bytes_(said.get('queue_bytes'))} in the queue",
        ),
        _commit_kpi(said),
        Kpi(
            "Kept",
            bytes_(health.bytes_on_disk),
            f"{percent(health.bytes_on_disk / health.budget_bytes, 1)} of {bytes_(health.budget_bytes)}"
            if health.budget_bytes
            else "no limit",
        ),
        Kpi(
            "Disk free",
            bytes_(health.disk_free_bytes),
            f"in flight {bytes_(held)} of {bytes_(limit)} of memory" if said else f"in flight {MISSING}{NARROW}",
            state="critical" if is_low else "",
        ),
    ]
