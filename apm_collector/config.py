"""The collector's configuration file, a strict subset of the upstream Collector's schema.

Every type of component reads its own section; what no reader knows is refused with its key named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from apm_collector.config_exporters import (
    EXPORTER_KEYS,
    DebugExporterConfig,
    ExporterConfig,
    OtlpExporterConfig,
    RetryConfig,
    StoreExporterConfig,
    read_debug_exporter,
    read_otlp_grpc_exporter,
    read_otlp_http_exporter,
    read_store_exporter,
)
from apm_collector.config_keys import ConfigKeyError, Keys, component_type
from apm_collector.config_receivers import (
    RECEIVER_KEYS,
    CorsConfig,
    Endpoint,
    OtlpConfig,
    ProtocolConfig,
    read_otlp_receiver,
)
from apm_collector.processors import attributes, batch, memory_limiter, redact, tail_sampling
from apm_collector.processors import filter as filtering
from apm_collector.strict_yaml import MAX_FILE_BYTES, YamlError, load_yaml
from apm_store.model import Signal

__all__ = [
    "ACCEPTED",
    "CollectorConfig",
    "ConfigError",
    "CorsConfig",
    "DebugExporterConfig",
    "Endpoint",
    "ExporterConfig",
    "OtlpConfig",
    "OtlpExporterConfig",
    "PipelineConfig",
    "ProcessorConfig",
    "ProtocolConfig",
    "RetryConfig",
    "StoreExporterConfig",
    "component_type",
    "load_config",
    "parse_config",
]

ProcessorConfig = (
    attributes.AttributesConfig
    | batch.BatchConfig
    | filtering.FilterConfig
    | memory_limiter.MemoryLimiterConfig
    | redact.RedactConfig
    | tail_sampling.TailSamplingConfig
)

_Reader = Callable[[Any, str], Any]
_RECEIVERS: Mapping[str, _Reader] = {"otlp": read_otlp_receiver}
_PROCESSORS: Mapping[str, Any] = {
    "memory_limiter": memory_limiter,
    "batch": batch,
    "filter": filtering,
    "attributes": attributes,
    "redact": redact,
    "tail_sampling": tail_sampling,
}
_EXPORTERS: Mapping[str, _Reader] = {
    "store": read_store_exporter,
    "otlp": read_otlp_grpc_exporter,
    "otlp_grpc": read_otlp_grpc_exporter,
    "otlp_http": read_otlp_http_exporter,
    "otlphttp": read_otlp_http_exporter,
    "debug": read_debug_exporter,
}

ACCEPTED: dict[str, str] = {
    **RECEIVER_KEYS,
    **{f"processors.{kind}.{key}": text for kind, module in _PROCESSORS.items() for key, text in module.KEYS.items()},
    **EXPORTER_KEYS,
    **{
        f"service.pipelines.{signal.value}.{key}": text
        for signal in Signal
        for key, text in {
            "receivers": "ids of receivers",
            "processors": "ids of processors in the order in which a batch passes them; `redact` comes last by itself",
            "exporters": "ids of exporters; `store` answers for the request, the others get a copy afterwards",
        }.items()
    },
}
"""What the file may hold, for the reference; `collector-config/reference.yaml` uses all of it."""


class ConfigError(ValueError):
    """The configuration cannot be used; the message names the file, the key, and what is accepted."""


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """The way of one signal, by component ids; `store`, where it is one of several exporters, stands first."""

    receivers: tuple[str, ...]
    processors: tuple[str, ...]
    exporters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """A whole configuration file."""

    receivers: Mapping[str, OtlpConfig]
    processors: Mapping[str, ProcessorConfig]
    exporters: Mapping[str, ExporterConfig]
    pipelines: Mapping[Signal, PipelineConfig]

    @property
    def http_port(self) -> int | None:
        """The port of the first OTLP/HTTP endpoint; None when there is none."""
        return next((one.http.endpoint.port for one in self.receivers.values() if one.http), None)

    @property
    def grpc_port(self) -> int | None:
        """The port of the first OTLP/gRPC endpoint; None when there is none."""
        return next((one.grpc.endpoint.port for one in self.receivers.values() if one.grpc), None)

    def listening_on(self, host: str, http_port: int | None, grpc_port: int | None) -> CollectorConfig:
        """The same configuration with all endpoints at another host, and with other ports where they are not None."""
        receivers = {
            component_id: OtlpConfig(grpc=_at(one.grpc, host, grpc_port), http=_at(one.http, host, http_port))
            for component_id, one in self.receivers.items()
        }
        return replace(self, receivers=receivers)


def _at(protocol: ProtocolConfig | None, host: str, port: int | None) -> ProtocolConfig | None:
    if protocol is None:
        return None
    return replace(protocol, endpoint=Endpoint(host, protocol.endpoint.port if port is None else port))


def load_config(path: Path, env: Mapping[str, str]) -> CollectorConfig:
    """Read a configuration file; `env` answers the `${env:NAME}` in it.

    Raises ConfigError.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1).decode()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: it is not UTF-8 text") from error
    try:
        return parse_config(text, env)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse_config(text: str, env: Mapping[str, str]) -> CollectorConfig:
    """Read the text of a configuration file; raises ConfigError, whose message names no file."""
    try:
        return _read_config(load_yaml(text, env))
    except (YamlError, ConfigKeyError) as error:
        raise ConfigError(str(error)) from error


def _read_config(document: Any) -> CollectorConfig:
    sections = ("receivers", "processors", "exporters", "service")
    keys = Keys(document, "", sections, needed="the file")
    receivers = keys.components("receivers", _RECEIVERS)
    readers = {kind: module.read_config for kind, module in _PROCESSORS.items()}
    processors = keys.components("processors", readers) if keys.values.get("processors") is not None else {}
    exporters = keys.components("exporters", _EXPORTERS)
    service = keys.section("service", ("pipelines",), needed="it")
    pipelines = service.section("pipelines", [signal.value for signal in Signal], needed="it")
    return CollectorConfig(
        receivers=receivers,
        processors={"redact": redact.RedactConfig(), **processors},
        exporters=exporters,
        pipelines={
            Signal(name): _read_pipeline(pipelines, name, receivers, processors, exporters) for name in pipelines.values
        },
    )


def _read_pipeline(
    pipelines: Keys,
    signal: str,
    receivers: Mapping[str, OtlpConfig],
    processors: Mapping[str, ProcessorConfig],
    exporters: Mapping[str, ExporterConfig],
) -> PipelineConfig:
    keys = pipelines.section(signal, ("receivers", "processors", "exporters"), needed="it")
    processor_ids = keys.ids("processors", processors) if keys.values.get("processors") else ()
    for component_id in processor_ids:
        signals = _PROCESSORS[component_type(component_id)].SIGNALS
        if Signal(signal) not in signals:
            accepted = ", ".join(one.value for one in signals)
            raise ConfigKeyError(f"{keys.path}.processors", f"{component_id} works on {accepted} only")
    if "redact" not in map(component_type, processor_ids):
        processor_ids = (*processor_ids, "redact")
    exporter_ids = keys.ids("exporters", exporters)
    stores = [one for one in exporter_ids if component_type(one) == "store"]
    if len(stores) > 1:
        raise ConfigKeyError(f"{keys.path}.exporters", "the store stands there twice: a copy in itself adds nothing")
    return PipelineConfig(
        receivers=keys.ids("receivers", receivers),
        processors=processor_ids,
        exporters=(*stores, *(one for one in exporter_ids if one not in stores)),
    )
