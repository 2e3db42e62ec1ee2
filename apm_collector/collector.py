"""The collector as one thing that starts and stops: receivers, pipelines, and the event loop they run in."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Protocol

from google.protobuf.internal import api_implementation

from apm_collector.config import CollectorConfig, Endpoint, OtlpConfig, component_type
from apm_collector.counts import Counts
from apm_collector.errors import CollectorError, StartError
from apm_collector.exporters.store import StoreExporter
from apm_collector.intake import Intake
from apm_collector.pipeline import PROCESSORS, Consumer, build_pipeline
from apm_store.api import Store
from apm_store.model import Signal

_STOP_TIMEOUT_S = 3


class Receiver(Protocol):
    """Takes requests from a network; `endpoint` is where, with its actual port once started."""

    endpoint: Endpoint

    async def start(self) -> None:
        """Listen; raises StartError when that fails."""
        ...

    async def wait(self) -> None:
        """Return when the receiver has ended, whyever."""
        ...

    async def stop(self) -> None:
        """Stop listening and answer what is under way; MUST be safe before start and more than once."""
        ...


class Collector:
    """Receives OTLP and writes it to a store; its event loop has a thread of its own."""

    def __init__(self, config: CollectorConfig, store: Store) -> None:
        self._config = config
        self._counts = Counts()
        exporter = StoreExporter(store, self._counts)  # the only type of exporter there is
        self._pipelines = {
            signal: build_pipeline([PROCESSORS[component_type(one)] for one in pipeline.processors], exporter)
            for signal, pipeline in config.pipelines.items()
        }
        self._bound: Future[dict[str, Endpoint]] = Future()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        """Where a started collector listens, by component id and protocol: `otlp/http`, `otlp/grpc`."""
        return self._bound.result()

    def counts(self) -> dict[str, dict[str, int]]:
        """What became of everything received since the start, by signal; see SignalCounts."""
        return self._counts.snapshot()

    def start(self) -> None:
        """Listen on all endpoints; returns when all are bound.

        Raises StartError, naming the endpoint, when one cannot be bound; then none is.
        """
        if api_implementation.Type() != "upb":
            raise StartError(
                f"protobuf runs as {api_implementation.Type()}; its upb form is needed, which bounds nesting"
            )
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)
        self._thread.start()
        self._bound.result()

    def wait(self) -> None:
        """Return when the collector was stopped; raises CollectorError when it ended by itself."""
        if self._thread is not None:
            self._thread.join()
            if not self._stopping.is_set():
                raise CollectorError("A receiver ended by itself")

    def stop(self) -> None:
        """Stop listening, answer what is under way for at most 3 s, and end; safe before start and more than once."""
        if self._thread is not None and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_STOP_TIMEOUT_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            if not self._bound.done():
                self._bound.set_exception(StartError())

    async def _serve(self) -> None:
        """Start the receivers, wait for the stop, and stop them."""
        self._loop = asyncio.get_running_loop()
        intake = Intake(self._counts)
        receivers = self._receivers(intake)
        try:
            for receiver in receivers.values():
                await receiver.start()
            self._bound.set_result({name: receiver.endpoint for name, receiver in receivers.items()})
            await self._until_stopped(receivers.values())
        except StartError as error:
            self._bound.set_exception(error)
        finally:
            await asyncio.gather(*(receiver.stop() for receiver in receivers.values()))
            intake.close()

    async def _until_stopped(self, receivers: Iterable[Receiver]) -> None:
        """Wait for `stop`, or for a receiver that ends by itself."""
        ends = [asyncio.ensure_future(receiver.wait()) for receiver in receivers]
        ends.append(asyncio.ensure_future(self._wait_for_stop()))
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)

    async def _wait_for_stop(self) -> None:
        await self._stopping.wait()

    def _receivers(self, intake: Intake) -> dict[str, Receiver]:
        """The receivers that some pipeline names, by component id and protocol."""
        receivers: dict[str, Receiver] = {}
        for component_id, config in self._config.receivers.items():
            consumers = {
                signal: consumer
                for signal, consumer in self._pipelines.items()
                if component_id in self._config.pipelines[signal].receivers
            }
            if consumers:
                receivers |= _otlp_receivers(component_id, config, consumers, intake)
        return receivers


def _otlp_receivers(
    component_id: str, config: OtlpConfig, consumers: Mapping[Signal, Consumer], intake: Intake
) -> dict[str, Receiver]:
    """The protocols of one OTLP receiver; a protocol's library is loaded only when the protocol is on."""
    receivers: dict[str, Receiver] = {}
    if config.http is not None:
        from apm_collector.receivers.otlp_http import OtlpHttpReceiver

        receivers[f"{component_id}/http"] = OtlpHttpReceiver(config.http, consumers, intake)
    if config.grpc is not None:
        from apm_collector.receivers.otlp_grpc import OtlpGrpcReceiver

        receivers[f"{component_id}/grpc"] = OtlpGrpcReceiver(config.grpc, consumers, intake)
    return receivers
