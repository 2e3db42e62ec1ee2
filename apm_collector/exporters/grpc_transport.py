"""Sends OTLP requests over gRPC, one at a time."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from apm_collector.config_exporters import OtlpExporterConfig
from apm_collector.errors import PermanentError, TransientError
from apm_collector.exporters.otlp_outcome import Outcome, read_response
from apm_collector.log_text import printable
from apm_store.model import Signal

MAX_RESPONSE_BYTES = 4 * 1024 * 1024  # what OTLP recommends
_METHODS = {
    Signal.TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    Signal.METRICS: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    Signal.LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_Code = grpc.StatusCode
_RETRYABLE = frozenset(
    {
        _Code.CANCELLED,
        _Code.DEADLINE_EXCEEDED,
        _Code.ABORTED,
        _Code.OUT_OF_RANGE,
        _Code.UNAVAILABLE,
        _Code.DATA_LOSS,
    }
)
_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),  # the exporter itself tries again
    ("grpc.enable_http_proxy", 0),  # only the configuration says where data goes
    ("grpc.max_reconnect_backoff_ms", 10_000),
]


class GrpcTransport:
    """A channel to one OTLP/gRPC endpoint."""

    def __init__(self, config: OtlpExporterConfig) -> None:
        self._config = config
        if config.is_insecure:
            self._channel = grpc.insecure_channel(config.endpoint, options=_OPTIONS)
        else:
            self._channel = grpc.secure_channel(config.endpoint, grpc.ssl_channel_credentials(), options=_OPTIONS)
        self._metadata = tuple((name.lower(), value) for name, value in config.headers.items())

    def send(self, signal: Signal, body: bytes) -> Outcome:
        """Send one request and give what the backend made of it.

        Raises PermanentError when the backend refuses it for good, TransientError when it may take it later.
        """
        try:
            response: bytes = self._channel.unary_unary(_METHODS[signal])(
                body,
                timeout=self._config.timeout_s,
                metadata=self._metadata,
                compression=grpc.Compression.Gzip if self._config.is_compressed else grpc.Compression.NoCompression,
            )
        except grpc.RpcError as error:
            raise _as_collector_error(error) from error
        except ValueError as error:  # the channel was closed
            raise TransientError(str(error), retry_after_s=0) from error
        return read_response(signal, response)

    def close(self) -> None:
        """Close the channel; a `send` under way in another thread then fails."""
        self._channel.close()


def _as_collector_error(error: Any) -> PermanentError | TransientError:
    """The error that a call's status stands for."""
    code = error.code()
    text = f"{code.name}: {printable(error.details() or '')}"
    delay_s = _retry_delay_s(error.trailing_metadata() or ())
    if code in _RETRYABLE or (code is _Code.RESOURCE_EXHAUSTED and delay_s is not None):
        return TransientError(text, retry_after_s=delay_s or 0)
    return PermanentError(text)


def _retry_delay_s(metadata: Any) -> int | None:
    """The delay of the RetryInfo in a status, rounded up to seconds; None when there is no RetryInfo."""
    info = error_details_pb2.RetryInfo()
    try:
        for key, value in metadata:
            if key == "grpc-status-details-bin":
                for detail in status_pb2.Status.FromString(value).details:
                    if detail.Unpack(info):
                        seconds: int = info.retry_delay.seconds + (info.retry_delay.nanos > 0)
                        return max(0, seconds)
    except DecodeError:
        return None
    return None
