"""The collector's figures about itself and its store, in Prometheus text format 0.0.4."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from apm_store.query import StoreHealth

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_Sample = tuple[Mapping[str, str], float]
_COUNT_HELP = {
    "received": "Items of requests that could be decoded.",
    "accepted": "Items acknowledged to the store.",
    "rejected": "Invalid items, by cause.",
    "dropped": "Items that a processor let go, by component and cause.",
    "refused": "Items given back to their sender with their request, by reason.",
}


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its full name, kind and meaning, and its samples, each with its labels."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: Sequence[_Sample]


def exposition(metrics: Iterable[Metric]) -> str:
    """The metrics as Prometheus text; metrics without samples are left out."""
    lines: list[str] = []
    for metric in metrics:
        if metric.samples:
            lines += [f"# HELP {metric.name} {_escaped_help(metric.help)}", f"# TYPE {metric.name} {metric.kind}"]
            lines += [f"{metric.name}{_labels(labels)} {_number(value)}" for labels, value in metric.samples]
    return "\n".join(lines) + "\n"


def count_metrics(counts: Mapping[str, Mapping[str, Any]]) -> list[Metric]:
    """The counts of `Counts.snapshot()`."""
    metrics = [
        Metric(f"spanwise_collector_items_{name}_total", "counter", text, _by_reason(counts, name))
        for name, text in _COUNT_HELP.items()
    ]
    requests, pending = _by_reason(counts, "refused_requests"), _by_reason(counts, "pending")
    return [
        *metrics,
        Metric("spanwise_collector_items_pending", "gauge", "Items received that have no outcome yet.", pending),
        Metric("spanwise_collector_requests_refused_total", "counter", "Requests refused whole, by reason.", requests),
    ]


def exporter_metrics(exporters: Mapping[str, Mapping[str, Any]]) -> list[Metric]:
    """What the exporters beside the store were given, what became of it, and what waits; see `Collector.exporters`."""
    items: list[_Sample] = []
    waiting: list[_Sample] = []
    queues: list[_Sample] = []
    for name, one in exporters.items():
        for signal, by_outcome in one.get("counts", {}).items():
            items += [
                ({"exporter": name, "signal": signal, "outcome": outcome}, n) for outcome, n in by_outcome.items()
            ]
        waiting += [({"exporter": name, "signal": signal}, n) for signal, n in one.get("waiting", {}).items()]
        queues += [({"exporter": name}, one["queue_bytes"])] if "queue_bytes" in one else []
    return [
        Metric("spanwise_exporter_items_total", "counter", "Items of exporters beside the store, by outcome.", items),
        Metric("spanwise_exporter_items_waiting", "gauge", "Items queued for another backend.", waiting),
        Metric("spanwise_exporter_queue_bytes", "gauge", "Bytes of the queue for another backend.", queues),
    ]


def store_metrics(health: StoreHealth) -> list[Metric]:
    """What the store says of itself; its counts go back to when it was made."""
    gauges = {
        "queue_bytes": (health.queue_bytes, "Bytes that wait to be indexed."),
        "index_lag_seconds": (health.index_lag_s, "Age of the oldest item that is durable but not searchable."),
        "size_bytes": (health.bytes_on_disk, "Bytes that the data directory takes on disk."),
        "size_limit_bytes": (health.budget_bytes, "Most bytes that the data directory may take."),
        "disk_free_bytes": (health.disk_free_bytes, "Bytes that are free on the disk."),
        "wal_bytes": (health.wal_bytes, "Bytes of write-ahead logs."),
        "segments": (health.segments, "Segments of raw data."),
    }
    commits = [({"quantile": "0.5"}, health.commit_p50_ms / 1000), ({"quantile": "0.99"}, health.commit_p99_ms / 1000)]
    prunes = Counter(entry.reason for entry in health.prunes)
    notices = Counter(notice.state for notice in health.notices)
    totals = {
        "accepted": (health.accepted, "Items taken, since the store was made."),
        "stored": (health.stored, "Items that became searchable, since the store was made."),
        "duplicates": (health.duplicates, "Items that were known already, since the store was made."),
    }
    return [
        *(
            Metric(f"spanwise_store_items_{name}_total", "counter", text, _each(by))
            for name, (by, text) in totals.items()
        ),
        Metric("spanwise_store_items_waiting", "gauge", "Items durable but not searchable yet.", _each(health.waiting)),
        *(Metric(f"spanwise_store_{name}", "gauge", text, [({}, value)]) for name, (value, text) in gauges.items()),
        Metric("spanwise_store_commit_seconds", "gauge", "Time that the last commits took.", commits),
        Metric("spanwise_store_prunes", "gauge", "Entries of the prune log, by reason.", _each(prunes, "reason")),
        Metric("spanwise_store_notices", "gauge", "What a person must know, by state.", _each(notices, "state")),
    ]


def _each(counts: Mapping[str, int], label: str = "signal") -> list[_Sample]:
    return [({label: key}, value) for key, value in counts.items()]


def _by_reason(counts: Mapping[str, Mapping[str, Any]], name: str) -> list[_Sample]:
    """One count of every signal, also by reason where it is counted by reason."""
    samples: list[_Sample] = []
    for signal, by_name in counts.items():
        value = by_name[name]
        if isinstance(value, Mapping):
            samples += [({"signal": signal, "reason": reason}, items) for reason, items in sorted(value.items())]
        else:
            samples.append(({"signal": signal}, value))
    return samples


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped_label(value)}"' for name, value in labels.items()) + "}"


def _escaped_label(value: str) -> str:
    return _escaped_help(value).replace('"', '\\"')


def _escaped_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if isinstance(value, int) else repr(value)
