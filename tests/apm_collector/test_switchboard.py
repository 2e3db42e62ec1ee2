"""Exporters and pipelines of one configuration after another, in a collector with a real store."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import make_request, make_span
from otlp_backends import HttpBackend, until
from stack import fetch, free_port

from apm_collector.collector import Collector
from apm_collector.config import parse_config
from apm_collector.errors import StartError
from apm_collector.spool import Spool
from apm_store.api import Store

BODY = make_request([make_span("op")]).SerializeToString()


def text_of(
    exporters: str,
    defined: str,
    *,
    port: int = 0,
    signals: tuple[str, ...] = ("traces",),
    size: int = 1_000_000,
) -> str:
    """A configuration whose pipelines have these exporters."""
    lines = [f"    {signal}: {{receivers: [otlp], exporters: {exporters}}}" for signal in signals]
    protocol = f'http: {{endpoint: "127.0.0.1:{port}", max_request_body_size: {size}}}'
    head = f"receivers: {{otlp: {{protocols: {{{protocol}}}}}}}\nexporters:\n{defined}service:\n  pipelines:\n"
    return head + "\n".join(lines)


def otlp_to(endpoint: str) -> str:
    """An otlp exporter that tries again quickly."""
    retry = "retry_on_failure: {initial_interval: 100ms, max_interval: 100ms}"
    return f"  otlp_http/far: {{endpoint: {endpoint}, {retry}}}\n"


class Running:
    """A started collector."""

    def __init__(self, text: str, store: Store, data_dir: Path) -> None:
        self.collector = Collector(parse_config(text, {}), store, data_dir)
        self.collector.start()

    def apply(self, text: str) -> None:
        """Have it run another configuration."""
        self.collector.apply(parse_config(text, {}))

    def send(self, signal: str = "traces", body: bytes = BODY) -> int:
        """POST a request; give the status."""
        url = f"http://{self.collector.endpoints['otlp/http']}/v1/{signal}"
        return fetch(url, body, {"Content-Type": "application/x-protobuf"})[0]

    def far(self) -> dict[str, Any]:
        """The state of the otlp exporter."""
        return self.collector.exporters()["otlp_http/far"]


@pytest.fixture
def backend() -> Iterator[HttpBackend]:
    """A recording OTLP/HTTP server."""
    backend = HttpBackend()
    yield backend
    backend.close()


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start collectors on the test's store; they are stopped at the end of the test."""
    started: list[Running] = []

    def run_one(text: str) -> Running:
        started.append(Running(text, store, tmp_path / "data"))
        return started[-1]

    yield run_one
    for one in started:
        one.collector.stop()


STORE = "  store:\n"


def test_a_tee_stores_and_sends_on(run: Callable[..., Running], backend: HttpBackend, store: Store) -> None:
    """An acknowledged request is in the store, and arrives at the other backend."""
    running = run(text_of("[debug, otlp_http/far, store]", STORE + otlp_to(backend.endpoint) + "  debug:\n"))

    assert running.send() == 200
    assert backend.wait_for_bodies(1) == [BODY]
    assert store.stats().spans == 1
    until(lambda: running.far()["counts"]["traces"].get("delivered"))
    assert running.far()["counts"] == {"traces": {"queued": 1, "delivered": 1}}
    assert running.collector.counts()["traces"]["accepted"] == 1


def test_what_an_earlier_process_held_is_counted(run: Callable[..., Running], store: Store, tmp_path: Path) -> None:
    """Spans that a sampler takes up from its spool are received once more, so that nothing is accepted without."""
    spool = Spool(tmp_path / "data" / "spool" / "tail_sampling")
    spool.sync(spool.append([BODY]))
    spool.close()
    text = text_of("[store]", STORE).replace("receivers: [otlp]", "receivers: [otlp], processors: [tail_sampling]")
    policies = "{decision_wait: 10m, policies: [{name: all, type: always_sample}]}"

    running = run(f"processors: {{tail_sampling: {policies}}}\n{text}")
    waiting = running.collector.counts()["traces"]
    running.collector.stop()
    decided = running.collector.counts()["traces"]

    assert (waiting["received"], waiting["accepted"], waiting["pending"]) == (1, 0, 1)
    assert (decided["received"], decided["accepted"], decided["pending"]) == (1, 1, 0)
    assert store.stats().spans == 1


def test_a_full_queue_does_not_fail_the_request(run: Callable[..., Running], store: Store) -> None:
    """The store has it, the sender is told so, and what the queue could not take is counted."""
    running = run(text_of("[store, otlp_http/far]", STORE + otlp_to("http://127.0.0.1:9"), size=4_000_000))
    exporter = running.collector._switchboard._plan.exporters["otlp_http/far"]
    exporter._queue.max_bytes = 10

    assert running.send() == 200
    assert store.stats().spans == 1
    assert running.far()["counts"] == {"traces": {"failed": 1}}


def test_without_a_store_the_queue_is_the_answer(run: Callable[..., Running], store: Store) -> None:
    """The request is acknowledged once it is durable in the queue, and refused with a hint when that is full."""
    running = run(text_of("[otlp_http/far]", otlp_to("http://127.0.0.1:9")))
    queue = running.collector._switchboard._plan.exporters["otlp_http/far"]._queue

    first = running.send()
    is_only_copy, queue.max_bytes = queue.is_only_copy, 10
    second = running.send()

    counts = running.collector.counts()["traces"]
    assert (first, second, is_only_copy) == (200, 503, True)
    assert running.far()["waiting"] == {"traces": 1}
    assert (counts["accepted"], sum(counts["refused"].values()), counts["pending"]) == (1, 1, 0)
    assert store.stats().spans == 0


def test_what_waits_is_delivered_after_a_change_of_the_backend(
    run: Callable[..., Running], backend: HttpBackend
) -> None:
    """The queue belongs to the exporter's id, whatever else of it changes."""
    running = run(text_of("[store, otlp_http/far]", STORE + otlp_to("http://127.0.0.1:9")))
    assert running.send() == 200

    running.apply(text_of("[store, otlp_http/far]", STORE + otlp_to(backend.endpoint)))

    assert backend.wait_for_bodies(1) == [BODY]


def test_an_exporter_that_is_taken_out_keeps_its_queue(run: Callable[..., Running], backend: HttpBackend) -> None:
    """What waits in it is delivered when the exporter comes back."""
    running = run(text_of("[store, otlp_http/far]", STORE + otlp_to("http://127.0.0.1:9")))
    running.send()
    running.apply(text_of("[store]", STORE))
    running.send()

    running.apply(text_of("[store, otlp_http/far]", STORE + otlp_to(backend.endpoint)))
    running.send()

    assert backend.wait_for_bodies(2) == [BODY, BODY]
    assert running.far()["counts"]["traces"]["resumed"] == 1


def _health(connection: http.client.HTTPConnection) -> int:
    connection.request("GET", "/healthz")
    response = connection.getresponse()
    response.read()
    return response.status


def test_receivers_stay_open_when_only_exporters_change(run: Callable[..., Running]) -> None:
    """A connection that a sender keeps goes on, and the port stays the same."""
    running = run(text_of("[store]", STORE))
    endpoint = running.collector.endpoints["otlp/http"]
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=10)

    first = _health(connection)
    kept = connection.sock
    running.apply(text_of("[store, debug]", STORE + "  debug:\n"))
    second = _health(connection)

    is_kept = connection.sock is kept
    connection.close()
    assert (first, second, is_kept) == (200, 200, True)
    assert running.collector.endpoints["otlp/http"] == endpoint


def test_a_receiver_moves_when_its_endpoint_changes(run: Callable[..., Running]) -> None:
    """It listens at the new address, and no longer at the old one."""
    ports = [free_port(), free_port()]
    running = run(text_of("[store]", STORE, port=ports[0]))

    running.apply(text_of("[store]", STORE, port=ports[1]))

    assert running.collector.endpoints["otlp/http"].port == ports[1]
    assert running.send() == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports[0]), timeout=2).close()


def test_a_limit_is_applied_at_the_same_address(run: Callable[..., Running]) -> None:
    """The receiver starts anew where it was."""
    port = free_port()
    running = run(text_of("[store]", STORE, port=port))

    running.apply(text_of("[store]", STORE, port=port, size=10))

    assert running.collector.endpoints["otlp/http"].port == port
    assert running.send() == 413


def test_a_signal_can_come_and_go(run: Callable[..., Running]) -> None:
    """Its path exists as long as a pipeline takes it."""
    port = free_port()
    running = run(text_of("[store]", STORE, port=port))
    statuses = [running.send("logs", b"")]

    running.apply(text_of("[store]", STORE, port=port, signals=("traces", "logs")))
    statuses.append(running.send("logs", b""))
    running.apply(text_of("[store]", STORE, port=port))
    statuses.append(running.send("logs", b""))

    assert statuses == [404, 200, 404]
    assert running.send() == 200


def test_an_address_that_is_taken_leaves_everything_as_it_was(
    run: Callable[..., Running], backend: HttpBackend
) -> None:
    """The change is refused, the address is named, and the former receivers and exporters go on."""
    port = free_port()
    running = run(text_of("[store]", STORE, port=port))

    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken = busy.getsockname()[1]
        with pytest.raises(StartError, match=f"127.0.0.1:{taken}"):
            running.apply(text_of("[store, otlp_http/far]", STORE + otlp_to(backend.endpoint), port=taken))

    assert running.collector.endpoints["otlp/http"].port == port
    assert running.send() == 200
    assert running.collector.exporters() == {}


def test_a_queue_that_cannot_be_opened_leaves_everything_as_it_was(run: Callable[..., Running], tmp_path: Path) -> None:
    """The change is refused before anything was touched."""
    running = run(text_of("[store]", STORE))
    (tmp_path / "data" / "queue").write_text("a file")

    with pytest.raises(StartError, match="otlp_http/far"):
        running.apply(text_of("[store, otlp_http/far]", STORE + otlp_to("http://127.0.0.1:9")))

    assert running.send() == 200


def test_a_stopped_collector_takes_no_change(run: Callable[..., Running]) -> None:
    """Neither before its end nor after it does a change hang."""
    running = run(text_of("[store]", STORE))
    running.collector.stop()

    with pytest.raises(StartError, match="stop"):
        running.apply(text_of("[store]", STORE, port=free_port()))


def test_a_stop_leaves_what_waits_in_the_queue(
    run: Callable[..., Running], backend: HttpBackend, tmp_path: Path
) -> None:
    """The next collector delivers it."""
    gate_text = text_of("[store, otlp_http/far]", STORE + otlp_to("http://127.0.0.1:9"))
    first = run(gate_text)
    first.send()
    first.collector.stop()

    run(text_of("[store, otlp_http/far]", STORE + otlp_to(backend.endpoint)))

    assert backend.wait_for_bodies(1) == [BODY]
