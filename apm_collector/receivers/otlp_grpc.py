"""OTLP over gRPC: generic handlers that take raw bytes, in the same event loop as OTLP/HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
from google.rpc import status_pb2

from apm_collector.config import Endpoint, ProtocolConfig
from apm_collector.errors import CollectorError, StartError
from apm_collector.intake import Intake
from apm_collector.otlp import encode_response
from apm_collector.pipeline import Consumer
from apm_collector.statuses import status_of
from apm_store.model import Signal

_SERVICES = {
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_Export = Callable[[bytes, Any], Awaitable[bytes]]


class OtlpGrpcReceiver:
    """Serves the OTLP Export methods of the signals that have a consumer."""

    def __init__(self, config: ProtocolConfig, consumers: Mapping[Signal, Consumer], intake: Intake) -> None:
        self._config = config
        self._consumers = consumers
        self._intake = intake
        self._server: grpc.aio.Server | None = None
        self.endpoint = config.endpoint

    async def start(self) -> None:
        """Bind the endpoint and serve; raises StartError when it cannot be bound."""
        options = [
            ("grpc.so_reuseport", 0),  # a busy port must fail
            ("grpc.max_receive_message_length", self._config.max_request_bytes),  # after decompression too
        ]
        server = grpc.aio.server(options=options)
        for signal, consumer in self._consumers.items():
            method = grpc.unary_unary_rpc_method_handler(self._export_of(signal, consumer))
            handler = grpc.method_handlers_generic_handler(_SERVICES[signal], {"Export": method})
            server.add_generic_rpc_handlers((handler,))
        try:
            port = server.add_insecure_port(str(self._config.endpoint))
        except RuntimeError as error:
            raise StartError(f"OTLP/gRPC cannot listen on {self._config.endpoint}: is the port in use?") from error
        await server.start()
        self._server = server
        self.endpoint = Endpoint(self._config.endpoint.host, port)

    async def wait(self) -> None:
        """Return when the server has ended."""
        if self._server is not None:
            await self._server.wait_for_termination()

    async def stop(self) -> None:
        """Stop listening, answer what is under way, and end; safe before start and more than once."""
        if self._server is not None:
            await self._server.stop(grace=2)

    def _export_of(self, signal: Signal, consumer: Consumer) -> _Export:
        """The Export method of one signal; requests and responses stay bytes."""

        async def export(body: bytes, context: Any) -> bytes:
            try:
                self._check_token(context)
                with self._intake.reserve(len(body)) as reservation:
                    decoded = await self._intake.accept(
                        consumer, signal, body, "protobuf", reservation=reservation, max_inflated_bytes=None
                    )
            except CollectorError as error:
                self._intake.counts.add_refused(signal, error.reason)
                await _abort(context, status_of(error))
                raise  # abort itself has raised
            return encode_response(signal, decoded, "protobuf")

        return export

    def _check_token(self, context: Any) -> None:
        """Refuse whom nothing is to be taken from."""
        metadata = dict(context.invocation_metadata())
        self._intake.check_token(str(metadata.get("authorization", "")), context.peer().rpartition(":")[0])


async def _abort(context: Any, status: status_pb2.Status) -> None:
    """End a call with a status and its details; always raises."""
    details = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(_CODES[status.code], status.message, details)
