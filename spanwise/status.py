"""`spanwise status`: what runs on a data directory, and what each service sent last."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from typing import Any

from spanwise.data_dir import running_instance
from spanwise.settings import Settings


def collect_status(settings: Settings) -> dict[str, Any]:
    """The state of the instance on the settings' data directory, as plain data.

    `collector` and `ui` are what their /healthz say, or {"status": "down", "reason": …}; `services` is what the API
    says of the last hour.
    """
    instance = running_instance(settings.data_dir)
    if instance is None:
        return {"running": False, "data_dir": str(settings.data_dir)}
    return {
        "running": True,
        "data_dir": str(settings.data_dir),
        "instance": asdict(instance),
        "collector": fetch_json(f"http://{instance.otlp_http}/healthz"),
        "ui": fetch_json(f"http://{instance.ui}/healthz"),
        "services": fetch_json(f"http://{instance.ui}/api/v1/services").get("data", []),
    }


def print_status(settings: Settings, *, as_json: bool) -> int:
    """Print the state; give 0 when the stack runs and both parts answer, else 1."""
    status = collect_status(settings)
    if as_json:
        print(json.dumps(status, indent=2))
    else:
        print("\n".join(_lines(status)))
    return 0 if status["running"] and "down" not in (status["collector"]["status"], status["ui"]["status"]) else 1


def fetch_json(url: str, timeout_s: float = 3.0) -> dict[str, Any]:
    """GET a JSON object from our own stack; {"status": "down", "reason": …} when it does not answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback goes through no proxy
    try:
        with opener.open(url, timeout=timeout_s) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except (urllib.error.URLError, OSError, ValueError) as error:
        return {"status": "down", "reason": str(getattr(error, "reason", error))}


def ago(time_ns: int) -> str:
    """How long ago a moment was, in one unit."""
    seconds = max(0, time.time_ns() - time_ns) // 1_000_000_000
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _lines(status: dict[str, Any]) -> list[str]:
    if not status["running"]:
        return [f"Nothing runs on {status['data_dir']}. Start it with: spanwise up"]
    instance = status["instance"]
    lines = [f"Spanwise runs with pid {instance['pid']} on {status['data_dir']}"]
    for name, address in (("collector", instance["otlp_http"]), ("ui", instance["ui"])):
        state = status[name]
        reason = f" ({state['reason']})" if state["status"] == "down" else ""
        lines.append(f"  {name:<10} http://{address}  {state['status']}{reason}")
    for signal, counts in status["collector"].get("counts", {}).items():
        lines.append(f"  {signal:<10} " + ", ".join(f"{count:,} {what}" for what, count in counts.items()))
    return lines + [f"  {item['service']:<20} last span {ago(item['last_seen_ns'])}" for item in status["services"]]
