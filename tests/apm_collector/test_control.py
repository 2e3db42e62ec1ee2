"""What a collector says of itself and does on demand."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any

import orjson
import pytest
from builders import make_batch, make_span

from apm_collector.collector import Collector
from apm_collector.config import CollectorConfig
from apm_collector.control import METHODS, OwnRoutes
from apm_collector.counts import Counts
from apm_collector.intake import Intake
from apm_store.api import StoreError
from apm_store.open import open_store
from apm_store.query import PruneEntry

TOKEN = {"x-spanwise-control": "right"}
ENTRY = PruneEntry(1, "request", 2, 3, 4, 5, 6, 7, 8)


class _PruningStore:
    """Notes what it is asked to remove."""

    def __init__(self, answer: PruneEntry | StoreError | None) -> None:
        self.answer = answer
        self.asked: list[dict[str, int]] = []
        self.traces = self.metrics = self.logs = self

    def prune(self, **question: int) -> PruneEntry | None:
        self.asked.append(question)
        if isinstance(self.answer, StoreError):
            raise self.answer
        return self.answer


def _routes(store: Any = None, token: str = "right") -> OwnRoutes:
    intake = Intake(Counts())
    intake.close()
    return OwnRoutes(store, intake, control_token=token, config_state=lambda: {"checkpoint": 3}, version="1.2.3")


class _UnreadableStore:
    """Cannot say how it does."""

    def health(self) -> None:
        raise StoreError("the disk is gone")


def test_health_tells_counts_memory_and_configuration() -> None:
    """/healthz answers also where the store does not; it tells version, counts, budget, the configuration's state."""
    status, content_type, body = _routes(_UnreadableStore()).handle("GET", "/healthz", {}, b"")

    health = orjson.loads(body)
    assert (status, content_type, health["status"]) == (200, "application/json", "ok")
    assert set(health["counts"]) == {"traces", "metrics", "logs"}
    assert (health["in_flight_bytes"], health["config"]) == (0, {"checkpoint": 3})
    assert health["version"] == "1.2.3"
    assert health["rss_bytes"] > 1_000_000
    assert (health["queue_bytes"], health["commit_p50_ms"], health["commit_p99_ms"]) == (None, None, None)


def test_health_tells_what_only_the_writer_knows(tmp_path: Path) -> None:
    """Commit times are those of the store that this process writes; there are none before the first commit."""
    store = open_store(tmp_path)
    routes = _routes(store)
    before = orjson.loads(routes.handle("GET", "/healthz", {}, b"")[2])
    store.traces.write(make_batch([make_span("op")]))

    after = orjson.loads(routes.handle("GET", "/healthz", {}, b"")[2])

    commit_ms = (store.health().commit_p50_ms, store.health().commit_p99_ms)
    store.close()
    assert (before["commit_p50_ms"], before["commit_p99_ms"], before["queue_bytes"]) == (None, None, 0)
    assert (after["commit_p50_ms"], after["commit_p99_ms"]) == commit_ms
    assert commit_ms[1] >= commit_ms[0] > 0


@pytest.mark.parametrize(("answer", "told"), [(ENTRY, {"kept_traces": 8, "freed_bytes": 7}), (None, None)])
@pytest.mark.parametrize("question", [{"before_ns": 5}, {"to_bytes": 0}])
def test_prune_hands_on_to_the_store(question: dict[str, int], answer: PruneEntry | None, told: Any) -> None:
    """The store gets exactly the asked bound, and its entry is the answer."""
    store = _PruningStore(answer)

    status, _, body = _routes(store).handle("POST", "/control/prune", TOKEN, orjson.dumps(question))

    pruned = orjson.loads(body)["pruned"]
    assert (status, store.asked) == (200, [question])
    assert pruned is None if told is None else pruned.items() >= told.items()


@pytest.mark.parametrize("headers", [{}, {"x-spanwise-control": "wrong"}, {"x-spanwise-control": ""}])
@pytest.mark.parametrize("token", ["right", ""])
def test_without_the_control_token_nothing_is_removed(headers: dict[str, str], token: str) -> None:
    """A missing or wrong token is refused, also where no token was set."""
    store = _PruningStore(ENTRY)

    status, _, _ = _routes(store, token).handle("POST", "/control/prune", headers, b'{"to_bytes": 1}')

    assert (status, store.asked) == (401, [])


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"1", b'{"to_bytes": -1}', b'{"to_bytes": 1.5}', b'{"to_bytes": true}', b'{"to_bytes": "1"}',
     b'{"to_bytes": 1, "before_ns": 1}', b'{"other": 1}', b'{"to_bytes": 99999999999999999999}', b"[" * 2000],
)  # fmt: skip
def test_other_bodies_are_refused(body: bytes) -> None:
    """Only one of the two bounds as a whole number is taken."""
    store = _PruningStore(ENTRY)

    status, _, answer = _routes(store).handle("POST", "/control/prune", TOKEN, body)

    assert (status, store.asked, list(orjson.loads(answer))) == (400, [], ["error"])


def test_what_the_store_cannot_do_is_told() -> None:
    """The store's own words reach the command."""
    store = _PruningStore(StoreError("the disk is gone"))

    status, _, body = _routes(store).handle("POST", "/control/prune", TOKEN, b'{"to_bytes": 1}')

    assert (status, orjson.loads(body)) == (503, {"error": "the disk is gone"})


@pytest.mark.parametrize("path", METHODS)
def test_each_path_takes_one_method(path: str) -> None:
    """The other methods are refused, and unknown paths are not found."""
    routes = _routes(_PruningStore(ENTRY))
    others = {"GET", "POST", "PUT", "DELETE", "HEAD"} - {METHODS[path]}

    assert {routes.handle(method, path, TOKEN, b"{}")[0] for method in others} == {405}
    assert routes.handle("GET", "/control", TOKEN, b"")[0] == 404


def test_a_running_collector_serves_its_routes_over_http(config: CollectorConfig) -> None:
    """Prune reaches the store with the control token alone; an endless body is cut off; GET is told to be POST."""
    store = _PruningStore(ENTRY)
    collector = Collector(config, store, control_token="right")  # type: ignore[arg-type]
    collector.start()
    try:
        asked = [
            _post(collector, b'{"to_bytes": 1}', {}),
            _post(collector, b'{"to_bytes": 1}', {"X-Spanwise-Control": "right"}),
            _post(collector, b" " * 20_000, {"X-Spanwise-Control": "right"}),
            _post(collector, b"", {}, "GET"),
        ]
    finally:
        collector.stop()

    assert (asked, store.asked) == ([401, 200, 413, 405], [{"to_bytes": 1}])


def _post(collector: Collector, body: bytes, headers: dict[str, str], method: str = "POST") -> int:
    endpoint = collector.endpoints["otlp/http"]
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=10)
    try:
        connection.request(method, "/control/prune", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()
