"""Starting and stopping a collector."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import make_request, make_span

from apm_collector.collector import Collector
from apm_collector.config import CollectorConfig
from apm_collector.errors import StartError
from apm_store.api import Store
from apm_store.model import Batch, Signal

BODY = make_request([make_span("op")]).SerializeToString()


class _GatedStore:
    """A store whose write waits until it is let go."""

    def __init__(self) -> None:
        self.entered, self.let_go = threading.Event(), threading.Event()
        self.traces = self.metrics = self.logs = self

    def write(self, batch: Batch) -> None:
        self.entered.set()
        self.let_go.wait(30)


def test_port_0_asks_for_free_ports(live: Any) -> None:
    """The endpoints tell the actual ports."""
    ports = {endpoint.port for endpoint in live.collector.endpoints.values()}

    assert set(live.collector.endpoints) == {"otlp/http", "otlp/grpc"}
    assert len(ports) == 2
    assert 0 not in ports


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_busy_port_is_named_and_nothing_stays_open(protocol: str, config: CollectorConfig, store: Store) -> None:
    """The start fails in one line; the other protocol is closed again."""
    with socket.socket() as busy, socket.socket() as other:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        other.bind(("127.0.0.1", 0))
        taken, free = busy.getsockname()[1], other.getsockname()[1]
        other.close()
        ports = {"http": (taken, free), "grpc": (free, taken)}[protocol]
        collector = Collector(config.listening_on("127.0.0.1", *ports), store)

        with pytest.raises(StartError, match=f"OTLP/{'HTTP' if protocol == 'http' else 'gRPC'}.* 127.0.0.1:{taken}"):
            collector.start()
        collector.stop()

    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", free))


def test_stop_is_safe_at_any_time(config: CollectorConfig, store: Store) -> None:
    """Before start, after start, and again; the ports are free at once."""
    collector = Collector(config, store)
    collector.stop()
    collector.start()
    endpoints = collector.endpoints

    collector.stop()
    collector.stop()
    collector.wait()

    for endpoint in endpoints.values():
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((endpoint.host, endpoint.port), timeout=1)


def test_stop_waits_for_what_is_under_way(start: Callable[..., Any]) -> None:
    """A request that the store is writing is answered before the collector ends."""
    store = _GatedStore()
    live = start(store)
    replies: list[int] = []
    sender = threading.Thread(target=lambda: replies.append(live.send(Signal.TRACES, BODY).status))
    sender.start()
    assert store.entered.wait(10)

    stopper = threading.Thread(target=live.collector.stop)
    stopper.start()
    store.let_go.set()
    stopper.join()
    sender.join()

    assert replies == [200]


def test_stop_gives_up_on_a_store_that_hangs(start: Callable[..., Any]) -> None:
    """After 3 s the collector ends; the request was not acknowledged."""
    store = _GatedStore()
    live = start(store)
    replies: list[int] = []

    def send() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            replies.append(live.send(Signal.TRACES, BODY).status)

    sender = threading.Thread(target=send)
    sender.start()
    assert store.entered.wait(10)
    started = time.monotonic()

    live.collector.stop()

    took_s = time.monotonic() - started
    store.let_go.set()
    sender.join()
    assert took_s < 4
    assert 200 not in replies


def test_a_signal_without_a_pipeline_is_not_taken(
    config: CollectorConfig, start: Callable[..., Any], store: Store
) -> None:
    """Its path does not exist."""
    live = start(store, replace(config, pipelines={Signal.TRACES: config.pipelines[Signal.TRACES]}))

    assert live.send(Signal.TRACES, BODY).status == 200
    assert live.send(Signal.LOGS, b"").status == 404


@pytest.mark.parametrize(("protocol", "has_grpc"), [("http", False), ("grpc", True)])
def test_a_collector_stays_light(protocol: str, has_grpc: bool, tmp_path: Path) -> None:
    """It loads no SQLAlchemy, Flask or Dash; gRPC only when that is configured."""
    path = tmp_path / "c.yaml"
    path.write_text(f"""
receivers: {{otlp: {{protocols: {{{protocol}: {{endpoint: "127.0.0.1:0"}}}}}}}}
exporters: {{store: }}
service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [store]}}}}}}
""")
    program = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from apm_collector.collector import Collector
        from apm_collector.config import load_config
        from apm_store.open import open_store
        store = open_store(Path({str(tmp_path / "data")!r}))
        collector = Collector(load_config(Path({str(path)!r}), {{}}), store)
        collector.start()
        collector.stop()
        store.close()
        print(sorted({{"sqlalchemy", "flask", "dash", "grpc"}} & set(sys.modules)))
    """)

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert result.stdout.strip() == ("['grpc']" if has_grpc else "[]")
    assert result.stderr == ""
