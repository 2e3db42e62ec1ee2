"""Sends batches to an OTLP backend, in order and from a queue on disk, so that a backend that is away costs nothing."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from apm_collector.config_exporters import OtlpExporterConfig
from apm_collector.errors import PermanentError, StartError, TransientError
from apm_collector.exporters.delivery_counts import DeliveryCounts
from apm_collector.exporters.disk_queue import DiskQueue, QueueFullError, Record
from apm_collector.exporters.otlp_outcome import Outcome
from apm_collector.log_text import printable
from apm_store.model import Batch, Signal

MAX_REQUEST_BYTES = 64 * 1024 * 1024  # OTLP forbids to send more
MAX_RETRY_AFTER_S = 300.0
_STOP_S = 0.8
_IDLE_S = 60.0
_LOG_EVERY_S = 60.0
_log = logging.getLogger(__name__)


class Transport(Protocol):
    """Sends one request at a time."""

    def send(self, signal: Signal, body: bytes) -> Outcome:
        """Send a request; raises PermanentError or TransientError (with 0 s where the backend names no time)."""
        ...

    def close(self) -> None:
        """Close; MUST be safe while another thread sends, and more than once."""
        ...


class OtlpExporter:
    """A Consumer that queues; a thread of its own delivers what is queued until `stop`.

    A request is delivered at least once: one whose answer was lost is sent again. What the backend refuses for good
    is dropped and counted; everything else is tried again until it is delivered, or dropped by the full queue or for
    its age.
    """

    def __init__(
        self,
        component_id: str,
        config: OtlpExporterConfig,
        queues_dir: Path,
        counts: DeliveryCounts,
    ) -> None:
        """Open the queue and start to deliver; raises StartError when the queue cannot be opened."""
        self._id = component_id
        self._config = config
        self._counts = counts
        try:
            self._queue = DiskQueue(queues_dir / quote(component_id, safe=""), config.queue_bytes, self._on_drop)
        except OSError as error:
            raise StartError(f"The queue of {component_id} in {queues_dir} cannot be used: {error.strerror}") from error
        for signal, items in self._queue.waiting().items():
            counts.add(component_id, signal, "resumed", items)
        self._transport: Transport | None = None
        self._delivers_to: OtlpExporterConfig | None = None
        self._problem = ""
        self._logged_s = -_LOG_EVERY_S
        self._stopping = False
        self._wake = threading.Event()
        self._sender = threading.Thread(target=self._run, name=component_id, daemon=True)
        self._sender.start()

    def configure(self, config: OtlpExporterConfig, *, is_only_copy: bool) -> None:
        """Deliver as another configuration says, from the next attempt on; what is queued stays queued.

        `is_only_copy` says that a pipeline has no other exporter that keeps its batches; see DiskQueue.
        """
        self._queue.max_bytes = config.queue_bytes
        self._queue.is_only_copy = is_only_copy
        self._config = config
        self._wake.set()

    def consume(self, batch: Batch) -> None:
        """Queue a batch.

        Raises TransientError when there is no room for it, or the disk does not take it, and PermanentError when it
        is larger than OTLP allows.
        """
        if len(batch.body) > MAX_REQUEST_BYTES:
            raise PermanentError(
                f"{self._id} cannot send {len(batch.body):,} bytes; {MAX_REQUEST_BYTES:,} are possible"
            )
        try:
            self._queue.append(batch.signal, batch.body, batch.item_count)
        except QueueFullError as error:
            raise TransientError(f"{self._id}: {error}", retry_after_s=5) from error
        except OSError as error:
            raise TransientError(f"The queue of {self._id} cannot be written: {error.strerror or error}") from error
        self._counts.add(self._id, batch.signal, "queued", batch.item_count)

    def state(self) -> dict[str, Any]:
        """What waits, in items by signal name and in bytes, and what is wrong with the backend; "" when nothing is."""
        waiting = {signal.value: items for signal, items in self._queue.waiting().items()}
        return {"waiting": waiting, "queue_bytes": self._queue.size_bytes(), "problem": self._problem}

    def stop(self) -> None:
        """End the delivery within two seconds; what is queued stays on disk. Idempotent."""
        self._stopping = True
        self._wake.set()
        self._queue.end()
        self._sender.join(_STOP_S)
        if self._sender.is_alive() and self._transport is not None:
            self._transport.close()  # ends an attempt that the backend holds up
            self._sender.join(_STOP_S)
        self._queue.close()

    def _run(self) -> None:
        while not self._stopping:
            record = self._queue.oldest(_IDLE_S)
            if record is not None:
                self._deliver(record)
        if self._transport is not None:
            self._transport.close()

    def _deliver(self, record: Record) -> None:
        """Try until the record is delivered, refused, dropped, or the exporter stops."""
        retry, first_s = self._config.retry, time.monotonic()
        for wait_s in backoff(retry.initial_interval_s, retry.max_interval_s):
            if self._stopping:
                return
            if retry.max_elapsed_s is not None and time.monotonic() - first_s > retry.max_elapsed_s:
                self._settle(record, "expired")
                return
            if not self._queue.holds(record):
                self._settle(record, "queue_full")
                return
            try:
                outcome = self._current_transport().send(record.signal, record.body)
            except PermanentError as error:
                self._settle(record, "refused")
                self._complain(f"{self._id}: the backend refused {record.item_count} items: {error}")
                return
            except TransientError as error:
                self._note_problem(str(error))
                self._pause(max(wait_s, min(error.retry_after_s, MAX_RETRY_AFTER_S)))
            else:
                self._delivered(record, outcome)
                return

    def _current_transport(self) -> Transport:
        """The transport of the configuration as it is now."""
        if self._transport is None or self._delivers_to != self._config:
            if self._transport is not None:
                self._transport.close()
            self._delivers_to = self._config
            self._transport = _open_transport(self._config)
        return self._transport

    def _delivered(self, record: Record, outcome: Outcome) -> None:
        rejected = min(outcome.rejected, record.item_count)
        self._counts.add(self._id, record.signal, "rejected", rejected)
        self._settle(record, "delivered", record.item_count - rejected)
        self._note_problem("")
        if outcome.message:
            self._complain(f"{self._id}: the backend rejected {rejected} items: {outcome.message}")

    def _settle(self, record: Record, outcome: Any, items: int | None = None) -> None:
        self._queue.remove(record)
        self._counts.add(self._id, record.signal, outcome, record.item_count if items is None else items)

    def _on_drop(self, signal: Signal, reason: Any, items: int) -> None:
        self._counts.add(self._id, signal, reason, items)
        self._complain(f"{self._id}: {items} items left the queue undelivered: {reason}")

    def _note_problem(self, problem: str) -> None:
        """Remember what keeps data from being delivered, and log when that begins and ends."""
        if problem and not self._problem:
            _log.warning("%s: %s; trying again until it is delivered", self._id, printable(problem))
        elif self._problem and not problem:
            _log.warning("%s: delivers again", self._id)
        self._problem = problem

    def _complain(self, text: str) -> None:
        """Log at most once a minute: the counts tell the rest."""
        if time.monotonic() - self._logged_s >= _LOG_EVERY_S:
            self._logged_s = time.monotonic()
            _log.warning("%s", text)

    def _pause(self, duration_s: float) -> None:
        """Wait, but not beyond a stop or another configuration."""
        self._wake.wait(duration_s)
        self._wake.clear()


def backoff(first_s: float, most_s: float) -> Iterator[float]:
    """The seconds to wait after each attempt: half as long again each time, and 20 % shorter or longer at random."""
    wait_s = first_s
    while True:
        yield min(wait_s, most_s) * random.uniform(0.8, 1.2)
        wait_s = min(wait_s * 1.5, most_s)


def _open_transport(config: OtlpExporterConfig) -> Transport:
    """A transport for a configuration; its library is loaded only now."""
    if config.protocol == "grpc":
        from apm_collector.exporters.grpc_transport import GrpcTransport

        return GrpcTransport(config)
    from apm_collector.exporters.http_transport import HttpTransport

    return HttpTransport(config)
