"""Where imported telemetry goes: to the collector that runs on the data directory, else into the store itself."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from apm_collector.config import CollectorConfig, ConfigError, OtlpExporterConfig, load_config
from apm_collector.config_exporters import RetryConfig
from apm_collector.errors import PermanentError, TransientError
from apm_collector.exporters.http_transport import HttpTransport
from apm_collector.exporters.store import StoreExporter
from apm_collector.pipeline import Consumer, ProcessorSettings, build_pipeline
from apm_store.api import Store
from apm_store.model import Batch, Signal
from spanwise.access import stored_token
from spanwise.config_file import config_in_use
from spanwise.data_dir import running_instance
from spanwise.files.store_access import CommandError, writing
from spanwise.settings import Settings, environment

_PATIENCE_S = 60.0  # how long a collector that cannot take data is asked again
_PAUSE_S = 0.1
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Destination:
    """A Consumer that redacts and stores as the network's does, and a word for where it is.

    `dropped` counts the items that a processor of this process let go, by reason.
    """

    consumer: Consumer
    place: str
    dropped: Counter[str] = field(default_factory=Counter)


@contextlib.contextmanager
def open_destination(settings: Settings) -> Iterator[Destination]:
    """The collector that runs on the data directory, else the store; raises CommandError when that cannot be opened."""
    instance = running_instance(settings.data_dir)
    if instance is not None:
        sender = CollectorSender(instance.otlp_http, stored_token(settings.data_dir))
        with contextlib.closing(sender):
            yield Destination(sender, f"the collector at {instance.otlp_http}")
        return
    config = _config(settings)
    with writing(settings) as store, contextlib.closing(OwnPipelines(config, store, settings.data_dir)) as own:
        yield Destination(own, str(settings.data_dir), own.dropped)


def _config(settings: Settings) -> CollectorConfig:
    try:
        return load_config(config_in_use(settings), environment())
    except ConfigError as error:
        raise CommandError(str(error)) from error


class OwnPipelines:
    """A Consumer with the processors of the collector's configuration and the store behind them.

    Exporters to other places are left out: they get what the collector receives, not what files bring.
    """

    def __init__(self, config: CollectorConfig, store: Store, data_dir: Path) -> None:
        self.dropped: Counter[str] = Counter()
        processor_settings = ProcessorSettings(self._on_dropped, data_dir / "spool")
        exporter = StoreExporter(store)
        self._pipelines = {
            signal: build_pipeline(pipeline.processors, config.processors, exporter, processor_settings)
            for signal, pipeline in config.pipelines.items()
        }
        for one in self._pipelines.values():
            one.start()

    def consume(self, batch: Batch) -> None:
        """Take a batch through the pipeline of its signal; raises PermanentError or TransientError."""
        if batch.signal not in self._pipelines:
            raise PermanentError(f"the configuration has no pipeline for {batch.signal.value}")
        self._pipelines[batch.signal].consume(batch)

    def _on_dropped(self, signal: Signal, reason: str, items: int) -> None:  # noqa: ARG002  OnDropped names it so
        self.dropped[reason] += items

    def close(self) -> None:
        """Have everything stored that a processor holds."""
        for one in self._pipelines.values():
            one.stop()


def deliver(consumer: Consumer, batch: Batch, patience_s: float = _PATIENCE_S) -> None:
    """Hand a batch on, again and again while it cannot be taken now.

    Raises PermanentError when it is refused for good, CommandError when the patience is over.
    """
    deadline = time.monotonic() + patience_s
    while (error := _try(consumer, batch)) is not None:
        if time.monotonic() + error.retry_after_s > deadline:
            raise CommandError(f"Nothing more can be stored now: {error}. Import the file again later.") from error
        time.sleep(max(error.retry_after_s, _PAUSE_S))


def _try(consumer: Consumer, batch: Batch) -> TransientError | None:
    """Why a batch cannot be taken now; None when it was."""
    try:
        consumer.consume(batch)
    except TransientError as error:
        return error
    return None


class CollectorSender:
    """A Consumer that sends to a collector on this machine over OTLP/HTTP."""

    def __init__(self, address: str, token: str = "") -> None:
        host, _, port = address.rpartition(":")
        if host in ("0.0.0.0", "[::]", "::"):  # noqa: S104  bound to every address: loopback is one of them
            host = "127.0.0.1"
        self._transport = HttpTransport(
            OtlpExporterConfig(
                protocol="http",
                endpoint=f"http://{host}:{port}",
                headers={"Authorization": f"Bearer {token}"} if token else {},
                is_compressed=False,
                timeout_s=_TIMEOUT_S,
                queue_bytes=0,  # nothing is queued: a file can be read again
                is_insecure=True,
                retry=RetryConfig(0.0, 0.0, None),
            )
        )

    def consume(self, batch: Batch) -> None:
        """Send a batch; returns after the collector's commit. Raises PermanentError or TransientError."""
        self._transport.send(batch.signal, batch.body)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()
