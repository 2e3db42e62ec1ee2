"""The receivers that run now, and how they give way to others: all or none."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from apm_collector.config import CollectorConfig, Endpoint, ProtocolConfig
from apm_collector.control import OwnRoutes
from apm_collector.errors import CollectorError, StartError
from apm_collector.intake import Intake
from apm_collector.pipeline import Consumer
from apm_store.model import Signal


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


@dataclass(frozen=True)
class Wanted:
    """One protocol of a receiver, with the consumers of its signals."""

    protocol: str
    config: ProtocolConfig
    consumers: Mapping[Signal, Consumer]

    def can_become(self, other: Wanted | None) -> bool:
        """Whether a receiver that serves this can go on and serve the other: gRPC cannot change its methods."""
        if other is None or self.config != other.config:
            return False
        return self.protocol == "http" or self.consumers == other.consumers


class Reception:
    """Starts, replaces and stops receivers, from one event loop."""

    def __init__(self, intake: Intake, own_routes: OwnRoutes) -> None:
        self.endpoints: Mapping[str, Endpoint] = {}
        self._intake = intake
        self._own_routes = own_routes
        self._wanted: dict[str, Wanted] = {}
        self._consumers: dict[str, dict[Signal, Consumer]] = {}  # what each receiver looks into for every request
        self._receivers: dict[str, Receiver] = {}
        self._ends: dict[str, asyncio.Task[None]] = {}

    def ends(self) -> list[asyncio.Task[None]]:
        """One task per running receiver, done when that has ended."""
        return list(self._ends.values())

    async def change(self, wanted: Mapping[str, Wanted]) -> None:
        """Run exactly these receivers, by component id and protocol; one that is wanted as it is goes on undisturbed.

        Raises StartError when one cannot start; then those from before run. Raises CollectorError when they cannot.
        """
        before = dict(self._wanted)
        try:
            await self._run(wanted)
        except StartError:
            try:
                await self._run(before)
            except StartError as error:
                raise CollectorError(f"The receivers from before could not start again: {error}") from error
            raise

    async def stop(self) -> None:
        """Stop all receivers, which answer what is under way."""
        await self._stop(list(self._receivers))

    async def _run(self, wanted: Mapping[str, Wanted]) -> None:
        await self._stop([name for name, one in self._wanted.items() if not one.can_become(wanted.get(name))])
        for name, one in wanted.items():
            if name not in self._receivers:
                self._consumers[name] = dict(one.consumers)
                receiver = self._receiver(one, self._consumers[name])
                await receiver.start()
                self._receivers[name] = receiver
                self._ends[name] = asyncio.ensure_future(_end_of(receiver))
            self._wanted[name] = one
            _make_equal(self._consumers[name], one.consumers)
        self.endpoints = {name: receiver.endpoint for name, receiver in self._receivers.items()}

    async def _stop(self, names: list[str]) -> None:
        for name in names:
            del self._wanted[name], self._ends[name]
        await asyncio.gather(*(self._receivers.pop(name).stop() for name in names))

    def _receiver(self, wanted: Wanted, consumers: Mapping[Signal, Consumer]) -> Receiver:
        """A receiver that is not started; a protocol's library is loaded only when the protocol is on."""
        if wanted.protocol == "http":
            from apm_collector.receivers.otlp_http import OtlpHttpReceiver

            return OtlpHttpReceiver(wanted.config, consumers, self._intake, self._own_routes)
        from apm_collector.receivers.otlp_grpc import OtlpGrpcReceiver

        return OtlpGrpcReceiver(wanted.config, consumers, self._intake)


def wanted_receivers(config: CollectorConfig, consumers: Mapping[Signal, Consumer]) -> dict[str, Wanted]:
    """The receivers that some pipeline names, by component id and protocol: `otlp/http`, `otlp/grpc`."""
    wanted = {}
    for component_id, receiver in config.receivers.items():
        own = {
            signal: consumer
            for signal, consumer in consumers.items()
            if component_id in config.pipelines[signal].receivers
        }
        for protocol, protocol_config in (("http", receiver.http), ("grpc", receiver.grpc)):
            if own and protocol_config is not None:
                wanted[f"{component_id}/{protocol}"] = Wanted(protocol, protocol_config, own)
    return wanted


def _make_equal(consumers: dict[Signal, Consumer], wanted: Mapping[Signal, Consumer]) -> None:
    """Change a mapping while requests look into it: what stays is there at every moment."""
    consumers.update(wanted)
    for signal in consumers.keys() - wanted.keys():
        del consumers[signal]


async def _end_of(receiver: Receiver) -> None:
    await receiver.wait()
