"""The tracer, meter and logger providers with their OTLP exporters, as the standard variables describe them."""

import atexit
import copy
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context, attach, detach, set_value
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk import _configuration as sdk
from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import TraceFlags

from otel_agent import attribute_values, exception_text, real_time, remote_parent
from otel_agent.export_queue import ExportQueue
from otel_agent.fast_paths import take_fast_paths
from otel_agent.fork_locks import renew_locks_in_children
from otel_agent.guard import guard
from otel_agent.metric_readers import MetricReaders
from otel_agent.settings import BatchSettings, Settings, tls_files
from otel_agent.span_processors import ListeningProcessors
from otel_agent.span_watch import FLAGS
from otel_agent.transport import HttpTransport, Tls

# How long the host's exit may wait for a collector that does not answer; the SDK alone waits 30 s per signal.
_EXIT_S = 0.7


class _Queueing:
    """What the processors of all signals have in common: their queue, and how it is emptied."""

    def __init__(self, queue: ExportQueue[Any], end: Callable[[], None]) -> None:
        self._queue = queue
        self._end = end

    def force_flush(self, timeout_millis: int | None = None) -> bool:  # noqa: ARG002 - the transport has a timeout
        """Send what waits."""
        return self._queue.flush()

    def shutdown(self) -> None:
        """Send what waits, within the time that the host's exit may take."""
        self._end()


class _SpanProcessor(_Queueing, SpanProcessor):
    """Queues the sampled spans that end."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span."""
        context: Any = span._context
        if context and context[FLAGS] & TraceFlags.SAMPLED:
            self._queue.put(span)


class _LogRecordProcessor(_Queueing, LogRecordProcessor):
    """Queues log records."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Queue the record, without the context it was written in, which may hold anything alive."""
        record = copy.copy(log_record.log_record)
        record.context = Context()
        self._queue.put(
            ReadableLogRecord(
                record, log_record.resource or Resource.get_empty(), log_record.instrumentation_scope, log_record.limits
            )
        )


class _Providers:
    """Builds the providers and what they share: the metric readers, and the queues whose losses are told."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._readers = MetricReaders()
        self._has_ended = False
        self._transports: dict[type, HttpTransport] = {}
        self._queues: list[tuple[str, ExportQueue[Any]]] = []
        if not settings.has_credential_provider:
            for exporter, signal in (
                (OTLPSpanExporter, "TRACES"),
                (OTLPMetricExporter, "METRICS"),
                (OTLPLogExporter, "LOGS"),
            ):
                self._transports[exporter] = HttpTransport(Tls(*tls_files(signal)))

    def start(self) -> metrics.Meter:
        """Install the global providers; return the meter of the process metrics."""
        sdk.PeriodicExportingMetricReader = lambda exporter: self._readers.add(  # type: ignore[attr-defined, assignment, misc]
            exporter, self._settings.metric_interval_s
        )
        sdk.TracerProvider = partial(TracerProvider, active_span_processor=ListeningProcessors())  # type: ignore[attr-defined, assignment]
        sdk._OTelSDKConfigurator()._configure(  # type: ignore[no-untyped-call]  # the library left it unannotated
            resource_attributes={"telemetry.distro.name": "spanwise", "telemetry.distro.version": _distro_version()},
            export_span_processor=self._span_processor,
            export_log_record_processor=self._log_record_processor,
            exporter_args_map=self._exporter_arguments(),
        )
        # Kept, for at a fork it gives itself the resource of the child.
        self._process_provider = self._process_meter_provider()
        for provider in (metrics.get_meter_provider(), self._process_provider):
            if isinstance(provider, MeterProvider) and provider._atexit_handler is not None:
                atexit.unregister(provider.shutdown)  # it may take 30 s, and print a traceback
        atexit.register(self._end)
        self._readers.start()
        meter = self._process_provider.get_meter("otel_agent.process_metrics")
        self._tell_losses(meter)
        return meter

    def _exporter_arguments(self) -> dict[Any, dict[str, Any]]:
        return {exporter: {"_transport": transport} for exporter, transport in self._transports.items()}

    def _span_processor(self, exporter: SpanExporter) -> SpanProcessor:
        return _SpanProcessor(self._queue("Spans", "span", exporter, self._settings.span_batches), self._end)

    def _log_record_processor(self, exporter: LogRecordExporter) -> LogRecordProcessor:
        return _LogRecordProcessor(self._queue("LogRecords", "log", exporter, self._settings.log_batches), self._end)

    def _queue(
        self, name: str, kind: str, exporter: SpanExporter | LogRecordExporter, batches: BatchSettings
    ) -> ExportQueue[Any]:
        def export(items: Sequence[Any]) -> bool:
            return exporter.export(items).name == "SUCCESS"

        transport = self._transports.get(type(exporter))
        queue: ExportQueue[Any] = ExportQueue(
            name,
            _untraced(export),
            lambda: None if transport is None else transport.retry_after_s,
            batches.queue_size,
            batches.batch_size,
            batches.delay_s,
        )
        self._queues.append((kind, queue))
        return queue

    def _process_meter_provider(self) -> MeterProvider:
        """Build a second meter provider: a reader reads everything of its provider, and these are read more often."""
        tracer_provider = trace.get_tracer_provider()
        resource = tracer_provider.resource if isinstance(tracer_provider, TracerProvider) else None
        _, exporters, _ = sdk._import_exporters([], sdk._get_exporter_names("metrics"), [])
        arguments = self._exporter_arguments()
        readers = [
            self._readers.add(exporter(**arguments.get(exporter, {})), self._settings.process_metrics_interval_s)
            for exporter in exporters.values()
            if issubclass(exporter, MetricExporter)  # a pull reader such as Prometheus serves the global provider alone
        ]
        return MeterProvider(readers, resource)

    def _tell_losses(self, meter: metrics.Meter) -> None:
        """Count the items that were lost, for the time when the collector is back: the counters are cumulative."""
        for kind, queue in self._queues:

            def read(
                _options: metrics.CallbackOptions, queue: ExportQueue[Any] = queue
            ) -> Iterable[metrics.Observation]:
                dropped = queue.count_dropped()
                return [metrics.Observation(dropped, {"error.type": "queue_full"})] if dropped else []

            meter.create_observable_counter(
                f"otel.sdk.processor.{kind}.processed", [read], f"{{{kind}}}", "What the agent had to drop unsent."
            )

    def _end(self) -> None:
        """Send what waits of every signal, all at once, and wait for it as long as the host's exit may take."""
        if self._has_ended:
            return
        self._has_ended = True
        ends_s = time.monotonic() + _EXIT_S
        parts: list[MetricReaders | ExportQueue[Any]] = [self._readers, *(queue for _, queue in self._queues)]
        for part in parts:
            with guard("send what is left"):
                part.begin_end()
        for part in parts:
            with guard("wait for what is left"):
                part.join(max(0.0, ends_s - time.monotonic()))


def start_providers(settings: Settings) -> metrics.Meter:
    """Install the global providers and return the meter of the process metrics, which has a pace of its own."""
    attribute_values.install()
    exception_text.install()
    real_time.install()
    remote_parent.install()
    renew_locks_in_children()
    take_fast_paths(settings.disabled_instrumentations)
    return _Providers(settings).start()


def _untraced(export: Callable[[Sequence[Any]], bool]) -> Callable[[Sequence[Any]], bool]:
    """Return `export` so that no instrumentation sees what it does."""

    def untraced(items: Sequence[Any]) -> bool:
        token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        try:
            return export(items)
        finally:
            detach(token)

    return untraced


def _distro_version() -> str:
    try:
        return version("spanwise")
    except PackageNotFoundError:  # run from a source tree
        return "0"
