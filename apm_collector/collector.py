"""The collector as one thing that starts, changes and stops: receivers, pipelines, and the event loop they run in."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from google.protobuf.internal import api_implementation

from apm_collector.config import CollectorConfig, Endpoint
from apm_collector.control import OwnRoutes
from apm_collector.counts import Counts
from apm_collector.errors import CollectorError, StartError
from apm_collector.intake import CheckToken, Intake
from apm_collector.reception import Reception, Wanted, wanted_receivers
from apm_collector.switchboard import Switchboard
from apm_store.api import Store

_STOP_TIMEOUT_S = 3
_Change = tuple[Mapping[str, Wanted], "Future[None]"]


class Collector:
    """Receives OTLP and hands it to exporters; its event loop has a thread of its own.

    `data_dir` holds the queues of exporters and what processors keep on disk. `check_token` says of a token whether it
    opens the ports; `control_token` is asked for by what changes data. `config_state` answers `config_state`, and
    `version` is what it says of itself.
    """

    def __init__(
        self,
        config: CollectorConfig,
        store: Store,
        data_dir: Path | None = None,
        *,
        check_token: CheckToken | None = None,
        control_token: str = "",
        config_state: Callable[[], Mapping[str, Any] | None] = lambda: None,
        version: str = "",
    ) -> None:
        self.config_state = config_state
        self._config = config
        self._counts = Counts()
        self._switchboard = Switchboard(store, self._counts, data_dir)
        self._intake = Intake(self._counts, check_token=check_token)
        own_routes = OwnRoutes(
            store,
            self._intake,
            control_token=control_token,
            config_state=config_state,
            exporters=self._switchboard.exporters,
            version=version,
        )
        self._reception = Reception(self._intake, own_routes)
        self._changing = threading.Lock()
        self._started: Future[None] = Future()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._changes: asyncio.Queue[_Change] = asyncio.Queue()

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """Where a started collector listens, by component id and protocol: `otlp/http`, `otlp/grpc`."""
        self._started.result()
        return self._reception.endpoints

    def counts(self) -> dict[str, dict[str, Any]]:
        """What became of everything received since the start, by signal; see SignalCounts."""
        return self._counts.snapshot()

    def exporters(self) -> dict[str, dict[str, Any]]:
        """What waits in each `otlp` exporter and what became of the rest, by component id."""
        return self._switchboard.exporters()

    def start(self) -> None:
        """Listen on all endpoints; returns when all are bound.

        Raises StartError, naming the endpoint, when one cannot be bound; then none is.
        """
        if api_implementation.Type() != "upb":
            raise StartError(
                f"protobuf runs as {api_implementation.Type()}; its upb form is needed, which bounds nesting"
            )
        plan = self._switchboard.prepare(self._config)
        self._switchboard.commit(plan)
        wanted = wanted_receivers(plan.config, plan.switches)
        self._thread = threading.Thread(target=self._run, args=(wanted,), name="collector", daemon=True)
        self._thread.start()
        self._started.result()

    def apply(self, config: CollectorConfig) -> None:
        """Run another configuration from now on; every request is taken whole by the former one or by this one.

        Receivers stay open unless their own configuration or their signals changed. Raises StartError when an endpoint
        cannot be bound or an exporter cannot be made; then the former configuration goes on.
        """
        with self._changing:
            plan = self._switchboard.prepare(config)
            try:
                self._change_receivers(wanted_receivers(config, plan.switches))
            except StartError:
                self._switchboard.discard(plan)
                raise
            self._switchboard.commit(plan)
            self._config = config

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

    def _change_receivers(self, wanted: Mapping[str, Wanted]) -> None:
        result: Future[None] = Future()
        if self._loop is None:
            raise StartError("The collector does not run")
        try:
            self._loop.call_soon_threadsafe(self._changes.put_nowait, (wanted, result))
        except RuntimeError as error:
            raise StartError("The collector has stopped") from error
        result.result()

    def _run(self, wanted: Mapping[str, Wanted]) -> None:
        try:
            asyncio.run(self._serve(wanted))
        finally:
            self._switchboard.close()
            if not self._started.done():
                self._started.set_exception(StartError())

    async def _serve(self, wanted: Mapping[str, Wanted]) -> None:
        """Start the receivers, serve until the stop, and stop them."""
        self._loop = asyncio.get_running_loop()
        try:
            await self._reception.change(wanted)
            self._started.set_result(None)
            await self._until_stopped()
        except StartError as error:
            if not self._started.done():
                self._started.set_exception(error)
        finally:
            await self._reception.stop()
            self._intake.close()
            while not self._changes.empty():
                self._changes.get_nowait()[1].set_exception(StartError("The collector stops"))

    async def _until_stopped(self) -> None:
        """Change receivers when asked to; return at `stop`, or when a receiver ends by itself."""
        stop = asyncio.ensure_future(self._wait_for_stop())
        change = asyncio.ensure_future(self._changes.get())
        while True:
            done, _ = await asyncio.wait([stop, change, *self._reception.ends()], return_when=asyncio.FIRST_COMPLETED)
            if stop in done or change not in done:
                break
            wanted, result = change.result()
            try:
                await self._reception.change(wanted)
                result.set_result(None)
            except StartError as error:
                result.set_exception(error)
            except CollectorError as error:
                result.set_exception(StartError(str(error)))
                break
            change = asyncio.ensure_future(self._changes.get())
        if change.done() and not change.result()[1].done():
            change.result()[1].set_exception(StartError("The collector stops"))
        change.cancel()
        stop.cancel()

    async def _wait_for_stop(self) -> None:
        await self._stopping.wait()
