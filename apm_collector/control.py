"""What the collector says of itself and does on demand: GET /healthz and /metrics, POST /control/prune."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

import orjson
import psutil

from apm_collector import self_metrics
from apm_collector.intake import Intake
from apm_collector.self_metrics import Metric
from apm_store.api import Store, StoreError

MAX_BODY_BYTES = 10_000
METHODS: Mapping[str, str] = {"/healthz": "GET", "/metrics": "GET", "/control/prune": "POST"}
"""The paths that `OwnRoutes` answers, and the one method that each takes."""

Answer = tuple[int, str, bytes]  # HTTP status, content type, body
_MAX_NUMBER = 2**63


class OwnRoutes:
    """Answers for one collector; `handle` blocks and may be called from any thread."""

    def __init__(
        self,
        store: Store,
        intake: Intake,
        *,
        control_token: str = "",
        config_state: Callable[[], Mapping[str, Any] | None] = lambda: None,
        exporters: Callable[[], Mapping[str, Mapping[str, Any]]] = dict,
        version: str = "",
    ) -> None:
        self._store = store
        self._intake = intake
        self._control_token = control_token
        self._config_state = config_state
        self._exporters = exporters
        self._version = version
        self._process = psutil.Process()
        self._started_ns = time.time_ns()

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer a request; header names are lower case. Host, Origin and the port's token were checked before."""
        if path not in METHODS:
            return _error(HTTPStatus.NOT_FOUND, f"there is nothing at {path[:200]}")
        if method != METHODS[path]:
            return _error(HTTPStatus.METHOD_NOT_ALLOWED, f"{method} is not possible here, {METHODS[path]} is")
        if path == "/healthz":
            return _json(HTTPStatus.OK, self.health() | self._writer_figures())
        if path == "/metrics":
            return int(HTTPStatus.OK), self_metrics.CONTENT_TYPE, self.metrics().encode()
        return self._prune(headers, body)

    def health(self) -> dict[str, Any]:
        """What this process knows without asking the store, as plain data."""
        with self._process.oneshot():
            cpu = self._process.cpu_times()
            memory = self._process.memory_info().rss
        return {
            "status": "ok",
            "version": self._version,
            "started_ns": self._started_ns,
            "counts": self._intake.counts.snapshot(),
            "in_flight_bytes": self._intake.in_flight_bytes,
            "in_flight_limit_bytes": self._intake.budget_bytes,
            "rss_bytes": memory,
            "cpu_s": cpu.user + cpu.system,
            "exporters": self._exporters(),
            "config": self._config_state(),
        }

    def _writer_figures(self) -> dict[str, Any]:
        """What only the process that writes the store can tell; None where there is nothing to tell."""
        try:
            health = self._store.health()
        except StoreError:
            return {"queue_bytes": None, "commit_p50_ms": None, "commit_p99_ms": None}
        return {
            "queue_bytes": health.queue_bytes,
            "commit_p50_ms": health.commit_p50_ms or None,  # 0 before the first commit
            "commit_p99_ms": health.commit_p99_ms or None,
        }

    def metrics(self) -> str:
        """Everything in Prometheus text; without the store's part when the store does not answer."""
        health = self.health()
        uptime_s = (time.time_ns() - self._started_ns) / 1e9
        gauges = {
            "spanwise_collector_in_flight_bytes": ("Memory budget held by requests.", health["in_flight_bytes"]),
            "spanwise_collector_in_flight_limit_bytes": ("Memory budget.", health["in_flight_limit_bytes"]),
            "spanwise_collector_uptime_seconds": ("Time since the start.", uptime_s),
            "process_start_time_seconds": ("Start, in Unix time.", self._started_ns / 1e9),
            "process_resident_memory_bytes": ("Resident memory of the collector.", health["rss_bytes"]),
        }
        metrics = [Metric("spanwise_build_info", "gauge", "The version.", [({"version": health["version"]}, 1)])]
        metrics += [Metric(name, "gauge", text, [({}, value)]) for name, (text, value) in gauges.items()]
        cpu = Metric("process_cpu_seconds_total", "counter", "CPU time of the collector.", [({}, health["cpu_s"])])
        metrics += [cpu, *self_metrics.count_metrics(health["counts"])]
        metrics += [*self_metrics.exporter_metrics(health["exporters"]), *self._store_metrics()]
        return self_metrics.exposition(metrics)

    def _store_metrics(self) -> list[Metric]:
        try:
            of_store = self_metrics.store_metrics(self._store.health())
        except StoreError:
            of_store = []
        return [Metric("spanwise_store_up", "gauge", "Whether the store answers.", [({}, bool(of_store))]), *of_store]

    def _prune(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Remove raw data at the word of who can read the control token: a command on this machine."""
        given = headers.get("x-spanwise-control", "")
        if not self._control_token or not hmac.compare_digest(given.encode(), self._control_token.encode()):
            return _error(HTTPStatus.UNAUTHORIZED, "the control token is missing or wrong")
        question = _read_prune(body)
        if question is None:
            return _error(HTTPStatus.BAD_REQUEST, 'the body is {"before_ns": N} or {"to_bytes": N}, N a whole number')
        try:
            entry = self._store.prune(**question)
        except StoreError as error:
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        return _json(HTTPStatus.OK, {"pruned": asdict(entry) if entry else None})


def _read_prune(body: bytes) -> dict[str, int] | None:
    """The one keyword argument of `Store.prune` that the body names; None when it is something else."""
    try:
        question = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(question, dict) or len(question) != 1 or question.keys() - {"before_ns", "to_bytes"}:
        return None
    (value,) = question.values()
    return question if type(value) is int and 0 <= value < _MAX_NUMBER else None


def _json(status: HTTPStatus, data: Any) -> Answer:
    return int(status), "application/json", orjson.dumps(data)


def _error(status: HTTPStatus, message: str) -> Answer:
    return _json(status, {"error": message})
