"""The otlp exporter: from a batch to a backend that is there, is away, or misbehaves."""

from __future__ import annotations

import itertools
import logging
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import make_batch, make_span
from otlp_backends import PROMPT, GrpcBackend, HttpBackend, answer, held, make_config, numbered, until

from apm_collector.config_exporters import OtlpExporterConfig, RetryConfig
from apm_collector.errors import PermanentError, StartError, TransientError
from apm_collector.exporters import otlp
from apm_collector.exporters.delivery_counts import DeliveryCounts
from apm_collector.exporters.otlp import OtlpExporter, backoff
from apm_store.model import Batch, Signal

Start = Callable[[OtlpExporterConfig], OtlpExporter]


@pytest.fixture
def counts() -> DeliveryCounts:
    """The counts of the test."""
    return DeliveryCounts()


@pytest.fixture
def start(tmp_path: Path, counts: DeliveryCounts) -> Iterator[Start]:
    """Start exporters on one queue; each stops before the next one starts."""
    started: list[OtlpExporter] = []

    def start_one(config: OtlpExporterConfig) -> OtlpExporter:
        for former in started:
            former.stop()
        started.append(OtlpExporter("otlp/far", config, tmp_path / "queue", counts))
        return started[-1]

    yield start_one
    for exporter in started:
        exporter.stop()


def settled(exporter: OtlpExporter, counts: DeliveryCounts) -> dict[str, int]:
    """The counts of traces once nothing waits."""
    until(lambda: not exporter.state()["waiting"])
    time.sleep(0)
    return counts.snapshot()["otlp/far"]["traces"]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_batches_arrive_in_order(
    protocol: str, start: Start, counts: DeliveryCounts, http_backend: HttpBackend, grpc_backend: GrpcBackend
) -> None:
    """Each body arrives as it was, once and in the order in which it was consumed."""
    backend: Any = {"http": http_backend, "grpc": grpc_backend}[protocol]
    exporter = start(make_config(backend.endpoint, protocol))
    batches = [numbered(number) for number in range(20)]

    for batch in batches:
        exporter.consume(batch)

    assert backend.wait_for_bodies(20) == [batch.body for batch in batches]
    until(lambda: counts.snapshot()["otlp/far"]["traces"].get("delivered") == 20)
    assert counts.snapshot() == {"otlp/far": {"traces": {"queued": 20, "delivered": 20}}}
    assert exporter.state()["waiting"] == {}
    assert exporter.state()["problem"] == ""


def test_what_a_backend_cannot_take_now_is_sent_again(
    start: Start, counts: DeliveryCounts, http_backend: HttpBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """503 after 503, then 429, then success: nothing is lost or reordered, and the log has two lines."""
    http_backend.script += [answer(503), answer(503), answer(429), answer(502), answer(504)]
    exporter = start(make_config(http_backend.endpoint))
    batches = [numbered(number) for number in range(3)]

    with caplog.at_level(logging.WARNING):
        for batch in batches:
            exporter.consume(batch)
        bodies = http_backend.wait_for_bodies(3)
        until(lambda: exporter.state()["problem"] == "")

    assert bodies == [batch.body for batch in batches]
    assert settled(exporter, counts) == {"queued": 3, "delivered": 3}
    assert [record.getMessage() for record in caplog.records] == [
        "otlp/far: 503 Service Unavailable; trying again until it is delivered",
        "otlp/far: delivers again",
    ]


def test_a_backend_that_refuses_is_not_asked_again(
    start: Start, counts: DeliveryCounts, http_backend: HttpBackend
) -> None:
    """400 and 500 are final: the batch is dropped and counted, and the next one is delivered."""
    http_backend.script += [answer(400), answer(500)]
    exporter = start(make_config(http_backend.endpoint))

    for number in range(3):
        exporter.consume(numbered(number))

    assert http_backend.wait_for_bodies(1) == [numbered(2).body]
    until(lambda: counts.snapshot()["otlp/far"]["traces"].get("delivered"))
    assert counts.snapshot()["otlp/far"]["traces"] == {"queued": 3, "refused": 2, "delivered": 1}
    assert len(http_backend.requests) == 3


def test_rejected_items_are_counted_and_not_sent_again(
    start: Start, counts: DeliveryCounts, grpc_backend: GrpcBackend
) -> None:
    """A partial success is a success: its rejected items are counted apart, never more than there were."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    for rejected in (1, 99):
        response = ExportTraceServiceResponse()
        response.partial_success.rejected_spans = rejected
        body = response.SerializeToString()
        grpc_backend.script.append(lambda _context, body=body: body)
    exporter = start(make_config(grpc_backend.endpoint, "grpc"))
    for _ in range(2):
        exporter.consume(make_batch([make_span("a"), make_span("b", span=2)]))

    until(lambda: counts.snapshot()["otlp/far"]["traces"].get("rejected") == 3)

    until(lambda: exporter.state()["waiting"] == {})
    assert counts.snapshot()["otlp/far"]["traces"] == {"queued": 4, "delivered": 1, "rejected": 3}
    assert len(grpc_backend.metadata) == 2


def test_retry_after_is_honoured(start: Start, http_backend: HttpBackend) -> None:
    """The next attempt comes no earlier than the backend asked for."""
    http_backend.script.append(answer(503, headers={"Retry-After": "1"}))
    exporter = start(make_config(http_backend.endpoint))
    started_s = time.monotonic()

    exporter.consume(numbered(0))
    http_backend.wait_for_bodies(1)

    assert 1.0 <= time.monotonic() - started_s < 5


def test_retry_after_has_a_cap(start: Start, http_backend: HttpBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that asks for 30 years is asked again after the cap."""
    monkeypatch.setattr(otlp, "MAX_RETRY_AFTER_S", 0.1)
    http_backend.script.append(answer(503, headers={"Retry-After": "1000000000"}))
    exporter = start(make_config(http_backend.endpoint))

    exporter.consume(numbered(0))

    assert http_backend.wait_for_bodies(1)


def test_waits_grow_up_to_a_bound_and_differ() -> None:
    """Half as long again each time, 20 % to either side, so that many exporters do not come back at once."""
    rows = [list(itertools.islice(backoff(1.0, 10.0), 12)) for _ in range(50)]

    for row in rows:
        for number, wait_s in enumerate(row):
            expected_s = min(1.5**number, 10.0)
            assert 0.8 * expected_s <= wait_s <= 1.2 * expected_s
    assert len({row[0] for row in rows}) > 40


def test_a_batch_is_given_up_when_the_configuration_says_so(
    start: Start, counts: DeliveryCounts, http_backend: HttpBackend
) -> None:
    """With a longest time to try, what could not be delivered in it is counted, and the next batch has its turn."""
    http_backend.script += [answer(503)] * 3
    exporter = start(make_config(http_backend.endpoint, retry=RetryConfig(0.2, 0.2, max_elapsed_s=0.3)))

    exporter.consume(numbered(0))
    exporter.consume(numbered(1))

    assert http_backend.wait_for_bodies(1) == [numbered(1).body]
    until(lambda: counts.snapshot()["otlp/far"]["traces"].get("delivered"))
    assert counts.snapshot()["otlp/far"]["traces"] == {"queued": 2, "expired": 1, "delivered": 1}


def test_a_backend_that_is_away_costs_the_sender_nothing(
    start: Start, counts: DeliveryCounts, http_backend: HttpBackend
) -> None:
    """Batches are taken at once while nobody answers, and delivered when somebody does."""
    gate = threading.Event()
    http_backend.script.append(held(gate))
    exporter = start(make_config(http_backend.endpoint))
    started_s = time.monotonic()
    for number in range(50):
        exporter.consume(numbered(number))
    took_s = time.monotonic() - started_s
    waiting = exporter.state()["waiting"]
    gate.set()

    bodies = http_backend.wait_for_bodies(50)

    assert took_s < 2
    assert waiting == {"traces": 50}
    assert bodies == [numbered(number).body for number in range(50)]


def test_a_full_queue_drops_the_oldest_and_everything_adds_up(
    start: Start, counts: DeliveryCounts, http_backend: HttpBackend
) -> None:
    """Queued items are delivered or counted as dropped, and the newest are among the delivered."""
    gate = threading.Event()
    http_backend.script.append(held(gate))
    exporter = start(make_config(http_backend.endpoint, queue_bytes=20_000))
    big = [make_batch([make_span("x" * 900, trace=number + 1)]) for number in range(60)]
    for batch in big:
        exporter.consume(batch)
    http_backend.wait_for_requests(1)
    gate.set()

    found = settled(exporter, counts)
    until(lambda: counts.snapshot()["otlp/far"]["traces"]["delivered"] == len(http_backend.bodies))
    found = counts.snapshot()["otlp/far"]["traces"]

    assert found["queued"] == 60
    assert found["delivered"] + found["queue_full"] == 60
    assert found["queue_full"] > 30
    assert http_backend.bodies == [batch.body for batch in big[found["queue_full"] :]]


def test_what_is_queued_outlives_a_restart(start: Start, counts: DeliveryCounts, http_backend: HttpBackend) -> None:
    """An exporter that stops with a full queue leaves it to the next one, which counts it as resumed."""
    nobody = make_config("http://127.0.0.1:9")
    exporter = start(nobody)
    for number in range(10):
        exporter.consume(numbered(number))
    exporter.stop()
    with pytest.raises(TransientError, match="closed"):
        exporter.consume(numbered(10))

    start(make_config(http_backend.endpoint))

    assert http_backend.wait_for_bodies(10) == [numbered(number).body for number in range(10)]
    until(lambda: counts.snapshot()["otlp/far"]["traces"].get("delivered") == 10)
    assert counts.snapshot()["otlp/far"]["traces"] == {"queued": 10, "resumed": 10, "delivered": 10}


def test_kill_9_loses_nothing_that_was_queued(
    tmp_path: Path, start: Start, counts: DeliveryCounts, http_backend: HttpBackend
) -> None:
    """Batches that a killed process had consumed are delivered by the next one."""
    program = textwrap.dedent(f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from pathlib import Path
        from otlp_backends import make_config, numbered
        from apm_collector.exporters.delivery_counts import DeliveryCounts
        from apm_collector.exporters.otlp import OtlpExporter
        exporter = OtlpExporter("otlp/far", make_config("http://127.0.0.1:9"), Path({str(tmp_path / "queue")!r}),
                                DeliveryCounts())
        for number in range(100):
            exporter.consume(numbered(number))
        print("queued", flush=True)
        time.sleep(60)
    """)
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "queued\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()

    start(make_config(http_backend.endpoint))

    assert http_backend.wait_for_bodies(100) == [numbered(number).body for number in range(100)]


def test_another_backend_takes_over(
    start: Start, counts: DeliveryCounts, http_backend: HttpBackend, grpc_backend: GrpcBackend
) -> None:
    """With another configuration what waits goes to the new backend at once, even over another protocol."""
    http_backend.script += [answer(503, headers={"Retry-After": "200"})]
    exporter = start(make_config(http_backend.endpoint))
    for number in range(5):
        exporter.consume(numbered(number))
    until(lambda: exporter.state()["problem"])

    exporter.configure(make_config(grpc_backend.endpoint, "grpc"), is_only_copy=False)

    assert grpc_backend.wait_for_bodies(5) == [numbered(number).body for number in range(5)]
    assert http_backend.bodies == []
    assert settled(exporter, counts)["queued"] == 5


def test_as_the_only_copy_a_full_queue_refuses(start: Start) -> None:
    """The sender is asked to come back: nobody else would keep the batch."""
    config = make_config("http://127.0.0.1:9", queue_bytes=5_000)
    exporter = start(config)
    exporter.configure(config, is_only_copy=True)

    with pytest.raises(TransientError, match="otlp/far: the queue is full") as raised:
        for number in range(100):
            exporter.consume(numbered(number))

    assert raised.value.retry_after_s == 5


def test_a_request_above_64_mib_is_not_queued(start: Start) -> None:
    """OTLP forbids to send it."""
    exporter = start(make_config("http://127.0.0.1:9", queue_bytes=1 << 30))

    with pytest.raises(PermanentError, match="67,108,864"):
        exporter.consume(Batch(Signal.TRACES, None, bytes(64 * 1024 * 1024 + 1), 1))


def test_a_stop_does_not_wait_for_a_slow_backend(start: Start, http_backend: HttpBackend) -> None:
    """The attempt under way is ended; its batch stays queued."""
    gate = threading.Event()
    http_backend.script.append(held(gate))
    exporter = start(make_config(http_backend.endpoint, timeout_s=60.0))
    exporter.consume(numbered(0))
    http_backend.wait_for_requests(1)
    started_s = time.monotonic()

    exporter.stop()
    exporter.stop()

    took_s = time.monotonic() - started_s
    gate.set()
    assert took_s < 2.5
    assert exporter.state()["waiting"] == {"traces": 1}


def test_a_stop_waits_for_an_answer_that_comes(start: Start, counts: DeliveryCounts, http_backend: HttpBackend) -> None:
    """A batch that was delivered while the exporter stopped is not delivered again by the next one."""
    entered = threading.Event()

    def answer_later(handler: Any) -> None:
        entered.set()
        time.sleep(0.2)
        answer(200)(handler)

    http_backend.script.append(answer_later)
    exporter = start(make_config(http_backend.endpoint))
    exporter.consume(numbered(0))
    assert entered.wait(10)
    exporter.stop()

    again = start(make_config(http_backend.endpoint))

    assert again.state()["waiting"] == {}
    assert counts.snapshot()["otlp/far"]["traces"] == {"queued": 1, "delivered": 1}


def test_a_queue_that_cannot_be_opened_is_said_at_the_start(tmp_path: Path, counts: DeliveryCounts) -> None:
    """The message names the exporter, the place and the cause."""
    (tmp_path / "queue").write_text("a file")

    with pytest.raises(StartError, match=r"otlp/far in .*queue cannot be used: (Not a directory|File exists)"):
        OtlpExporter("otlp/far", make_config("http://127.0.0.1:9", retry=PROMPT), tmp_path / "queue", counts)


def test_a_component_id_is_no_path(tmp_path: Path, counts: DeliveryCounts) -> None:
    """A name with dots stays inside the directory of queues, and two ids never share a queue."""
    for component_id in ("otlp/..", "otlp_http", "otlp/http"):
        OtlpExporter(component_id, make_config("http://127.0.0.1:9"), tmp_path / "queue", counts).stop()

    assert sorted(path.name for path in (tmp_path / "queue").iterdir()) == ["otlp%2F..", "otlp%2Fhttp", "otlp_http"]


def test_grpc_is_not_loaded_for_http(tmp_path: Path) -> None:
    """An exporter over HTTP costs no gRPC, and none loads what traces requests."""
    program = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from pathlib import Path
        from apm_collector.config_exporters import OtlpExporterConfig, RetryConfig
        from apm_collector.exporters.delivery_counts import DeliveryCounts
        from apm_collector.exporters.otlp import OtlpExporter
        config = OtlpExporterConfig("http", "http://127.0.0.1:9", {{}}, False, 1.0, 1 << 20, False,
                                    RetryConfig(1.0, 1.0, None))
        exporter = OtlpExporter("otlp", config, Path({str(tmp_path / "queue")!r}), DeliveryCounts())
        exporter.stop()
        print(sorted({{"grpc", "requests", "httpx", "urllib3", "opentelemetry.trace"}} & set(sys.modules)))
    """)

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert result.stdout.strip() == "[]"
