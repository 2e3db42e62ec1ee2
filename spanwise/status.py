"""`spanwise status`: what runs on a data directory, what became of what was received, and how the store does."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spanwise.control import fetch_json
from spanwise.data_dir import running_instance
from spanwise.settings import Settings

OUTCOMES = ("accepted", "rejected", "dropped", "refused", "pending")
OF_WRITER = frozenset({"queue_bytes", "commit_p50_ms", "commit_p99_ms"})
ITEMS = {"traces": "spans", "metrics": "data points", "logs": "log records"}


def collect_status(settings: Settings) -> dict[str, Any]:
    """The state of the instance on the settings' data directory, as plain data.

    `collector` and `ui` are what their /healthz say, or {"status": "down", "reason": …}; `services` is what the API
    says of the last hour; `store` is the store's health, which is also read when nothing runs.
    """
    data_dir = settings.data_dir
    instance = running_instance(data_dir)
    status = {"running": instance is not None, "data_dir": str(data_dir), "store": read_health(data_dir)}
    if instance is None:
        return status
    return status | {
        "instance": asdict(instance),
        "collector": fetch_json(f"http://{instance.otlp_http}/healthz", data_dir),
        "ui": fetch_json(f"http://{instance.ui}/healthz", data_dir),
        "services": fetch_json(f"http://{instance.ui}/api/v1/services", data_dir).get("data", []),
    }


def read_health(data_dir: Path) -> dict[str, Any]:
    """The health of the store in a data directory, as plain data; {"status": "down", "reason": …} when it has none.

    What only the collector can tell, as it writes the store, is left out.
    """
    if not data_dir.is_dir():
        return {"status": "down", "reason": f"there is no {data_dir}"}
    try:
        from apm_store.api import StoreError
        from apm_store.open import open_store
    except ModuleNotFoundError as error:  # the base install can tell everything else
        return {"status": "down", "reason": f"{error.name} is missing: pip install 'spanwise[server]'"}
    try:
        store = open_store(data_dir, read_only=True)
        try:
            health = asdict(store.health())
            return {"status": "ok"} | {name: value for name, value in health.items() if name not in OF_WRITER}
        finally:
            store.close()
    except (StoreError, OSError) as error:
        return {"status": "down", "reason": str(error)}


def print_status(settings: Settings, *, as_json: bool) -> int:
    """Print the state; give 0 when the stack runs and both parts answer, else 1."""
    status = collect_status(settings)
    if as_json:
        print(json.dumps(status, indent=2))
    else:
        print("\n".join(map(printable, _lines(status))))
    return 0 if status["running"] and "down" not in (status["collector"]["status"], status["ui"]["status"]) else 1


def printable(line: str) -> str:
    """A line for a terminal: what would steer it or turn its order around is written as an escape."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)


def ago(time_ns: int) -> str:
    """How long ago a moment was, in one unit."""
    seconds = max(0, time.time_ns() - time_ns) // 1_000_000_000
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _lines(status: dict[str, Any]) -> list[str]:
    if not status["running"]:
        return [f"Nothing runs on {status['data_dir']}. Start it with: spanwise up", *_store_lines(status["store"], {})]
    instance, collector = status["instance"], status["collector"]
    lines = [f"Spanwise runs with pid {instance['pid']} on {status['data_dir']}"]
    for name, address in (("collector", instance["otlp_http"]), ("ui", instance["ui"])):
        lines.append(f"  {name:<10} http://{address}  {_part_words(status[name])}")
    if "counts" in collector:
        lines += ["", f"Received since the collector started, {ago(collector['started_ns'])}"]
        lines += [f"  {signal:<8} {_count_words(signal, counts)}" for signal, counts in collector["counts"].items()]
    lines += [*_config_lines(collector.get("config") or {}), "", *_store_lines(status["store"], collector)]
    if status["services"]:
        lines += ["", "Services"]
    return lines + [f"  {item['service']:<20} last span {ago(item['last_seen_ns'])}" for item in status["services"]]


def _config_lines(config: Mapping[str, Any]) -> list[str]:
    lines = [f"  configuration checkpoint {config['checkpoint']}"] if config.get("checkpoint") else []
    return lines + ([f"  configuration file not in use: {config['refused']}"] if config.get("refused") else [])


def _part_words(state: Mapping[str, Any]) -> str:
    if state["status"] == "down":
        return f"down ({state['reason']})"
    memory = f", {_mega(state['rss_bytes'])} of memory" if "rss_bytes" in state else ""
    return f"{state['status']}{memory}"


def _count_words(signal: str, counts: Mapping[str, Any]) -> str:
    """One sum, its empty parts left out: 12 spans = 10 accepted + 2 rejected (invalid 2); 1 request refused (…)."""
    sizes = {name: _total(counts[name]) for name in OUTCOMES}
    parts = [f"{size:,} {name}{_reasons(counts[name])}" for name, size in sizes.items() if size or name == "accepted"]
    words = f"{counts['received']:,} {ITEMS[signal]} = {' + '.join(parts)}"
    requests = counts["refused_requests"]
    number = _total(requests)
    noun = "request" if number == 1 else "requests"
    return f"{words}; {number:,} {noun} refused{_reasons(requests)}" if requests else words


def _total(count: int | Mapping[str, int]) -> int:
    return sum(count.values()) if isinstance(count, Mapping) else count


def _reasons(count: int | Mapping[str, int]) -> str:
    if not isinstance(count, Mapping) or not count:
        return ""
    return f" ({', '.join(f'{reason} {items:,}' for reason, items in sorted(count.items()))})"


def _store_lines(health: Mapping[str, Any], collector: Mapping[str, Any]) -> list[str]:
    if health["status"] == "down":
        return [f"The store cannot be read: {health['reason']}"]
    size = f"{_mega(health['bytes_on_disk'])} of at most {_mega(health['budget_bytes'])}"
    lines = [f"Store: {size}; {_mega(health['disk_free_bytes'])} free on the disk"]
    for signal, accepted in health["accepted"].items():
        parts = [f"{health[name].get(signal, 0):,} {name}" for name in ("stored", "duplicates", "waiting")]
        lines.append(f"  {signal:<8} {accepted:,} {ITEMS.get(signal, 'items')} = {' + '.join(parts)}")
    lag = f"index lag {health['index_lag_s']:.1f} s"
    lines.append(f"  {lag}, {_commit_words(collector)}, {len(health['prunes'])} prunes")
    return lines + [f"  {notice['state']}: {notice['text']}" for notice in health["notices"]]


def _commit_words(collector: Mapping[str, Any]) -> str:
    """How long commits take, which the collector alone knows."""
    if "commit_p50_ms" not in collector:
        return "commit times unknown (no collector answers)"
    if collector["commit_p50_ms"] is None:
        return "no commits measured yet"
    p50_ms, p99_ms = collector["commit_p50_ms"], collector["commit_p99_ms"]
    queue = f", {_mega(collector['queue_bytes'])} in the queue" if collector["queue_bytes"] else ""
    return f"commits take {p50_ms:.1f} ms (p99 {p99_ms:.1f} ms){queue}"


def _mega(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
