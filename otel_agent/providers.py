"""The tracer, meter and logger providers with their OTLP exporters, as the standard variables describe them."""

import atexit
import os
from importlib.metadata import PackageNotFoundError, version

import requests
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk import _configuration as sdk
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from requests.adapters import HTTPAdapter

from otel_agent.guard import guard
from otel_agent.settings import Settings

# How long the host's exit may wait for a collector that does not answer; the SDK alone waits 30 s per signal.
_SPANS_EXIT_MS = 500
_LOGS_EXIT_MS = 250
_METRICS_EXIT_MS = 150


class _SpanProcessor(BatchSpanProcessor):
    """The SDK's batch processor with a bounded end."""

    def shutdown(self) -> None:
        with guard("send the last spans"):
            self._batch_processor.shutdown(timeout_millis=_SPANS_EXIT_MS)


class _LogRecordProcessor(BatchLogRecordProcessor):
    """The SDK's batch processor with a bounded end."""

    def shutdown(self) -> None:
        with guard("send the last log records"):
            self._batch_processor.shutdown(timeout_millis=_LOGS_EXIT_MS)


def start_providers(settings: Settings) -> metrics.Meter:
    """Install the global providers and return the meter of the process metrics, which has a pace of its own."""
    arguments = {} if settings.has_credential_provider else _exporter_arguments()
    sdk._OTelSDKConfigurator()._configure(  # type: ignore[no-untyped-call]  # the library left it unannotated
        resource_attributes={"telemetry.distro.name": "spanwise", "telemetry.distro.version": _distro_version()},
        export_span_processor=_SpanProcessor,
        export_log_record_processor=_LogRecordProcessor,
        exporter_args_map=arguments,
    )
    provider = metrics.get_meter_provider()
    if isinstance(provider, MeterProvider):
        _bound_exit(provider)
    return _process_meter_provider(settings, arguments).get_meter("otel_agent.process_metrics")


def _process_meter_provider(settings: Settings, arguments: sdk.ExporterArgsMap) -> MeterProvider:
    """Build a second meter provider: a reader reads everything of its provider, and these are read more often."""
    tracer_provider = trace.get_tracer_provider()
    resource = tracer_provider.resource if isinstance(tracer_provider, TracerProvider) else None
    _, exporters, _ = sdk._import_exporters([], sdk._get_exporter_names("metrics"), [])
    readers = [
        PeriodicExportingMetricReader(
            exporter(**arguments.get(exporter, {})), settings.process_metrics_interval_s * 1000
        )
        for exporter in exporters.values()
        if issubclass(exporter, MetricExporter)  # a pull reader such as Prometheus serves the global provider alone
    ]
    provider = MeterProvider(readers, resource)
    _bound_exit(provider)
    return provider


def _exporter_arguments() -> sdk.ExporterArgsMap:
    return {
        exporter: {"session": _fork_safe_session()}
        for exporter in (OTLPSpanExporter, OTLPMetricExporter, OTLPLogExporter)
    }


def _bound_exit(provider: MeterProvider) -> None:
    """Replace the provider's own exit, which may take 30 s and print a traceback."""
    atexit.unregister(provider.shutdown)

    def send_last_metrics() -> None:
        with guard("send the last metrics"):
            provider.shutdown(timeout_millis=_METRICS_EXIT_MS)

    atexit.register(send_last_metrics)


def _fork_safe_session() -> requests.Session:
    """Return a session whose connections a forked child never shares with its parent."""
    session = requests.Session()

    def forget_connections() -> None:
        # New adapters, not session.close(): closing takes locks that another thread may have held when it forked.
        session.mount("https://", HTTPAdapter())
        session.mount("http://", HTTPAdapter())

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget_connections)
    return session


def _distro_version() -> str:
    try:
        return version("spanwise")
    except PackageNotFoundError:  # run from a source tree
        return "0"
