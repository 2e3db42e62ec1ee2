"""The collector's configuration file, a strict subset of the upstream Collector's schema.

What the file may say stands here as one reader per section; everything else is refused with its key named.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from apm_collector.strict_yaml import MAX_FILE_BYTES, YamlError, load_yaml
from apm_store.model import Signal

_MIB = 1024 * 1024
_DEFAULT_MAX_BYTES = 64 * _MIB  # what OTLP recommends
_COMPONENT_ID = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:/[^\s/]+)?\Z")

ACCEPTED: dict[str, str] = {
    "receivers.otlp.protocols.grpc.endpoint": "host:port of OTLP over gRPC; leave `grpc` out to switch it off",
    "receivers.otlp.protocols.grpc.max_recv_msg_size_mib": "largest request after decompression, 1 to 64 MiB",
    "receivers.otlp.protocols.http.endpoint": "host:port of OTLP over HTTP; leave `http` out to switch it off",
    "receivers.otlp.protocols.http.max_request_body_size": "largest request after decompression, up to 67108864 bytes",
    "exporters.store": "the store of this machine; it takes no keys",
    "service.pipelines.traces.receivers": "ids of receivers",
    "service.pipelines.traces.exporters": "ids of exporters, one for now",
    "service.pipelines.metrics.receivers": "ids of receivers",
    "service.pipelines.metrics.exporters": "ids of exporters, one for now",
    "service.pipelines.logs.receivers": "ids of receivers",
    "service.pipelines.logs.exporters": "ids of exporters, one for now",
}
"""What the file may hold, for the reference; `collector-config/local.yaml` uses all of it."""


class ConfigError(ValueError):
    """The configuration file cannot be used; the message names the file, the key, and what is accepted."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a receiver listens; port 0 asks for any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ProtocolConfig:
    """One protocol of an OTLP receiver: where it listens, and how large a request may be after decompression."""

    endpoint: Endpoint
    max_request_bytes: int


@dataclass(frozen=True, slots=True)
class OtlpConfig:
    """An OTLP receiver; a protocol that is None is off."""

    grpc: ProtocolConfig | None
    http: ProtocolConfig | None


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """The way of one signal, by component ids."""

    receivers: tuple[str, ...]
    processors: tuple[str, ...]
    exporter: str


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """A whole configuration file."""

    receivers: Mapping[str, OtlpConfig]
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


def component_type(component_id: str) -> str:
    """The `type` of a component id `type[/name]`."""
    return component_id.partition("/")[0]


def load_config(path: Path, env: Mapping[str, str]) -> CollectorConfig:
    """Read a configuration file; `env` answers the `${env:NAME}` in it.

    Raises ConfigError.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1).decode()
        document = load_yaml(text, env)
        return _read_config(document)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: it is not UTF-8 text") from error
    except (YamlError, _KeyError) as error:
        raise ConfigError(f"{path}: {error}") from error


class _KeyError(ValueError):
    """What is wrong, at a key path."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)


def _read_config(document: Any) -> CollectorConfig:
    keys = _section(document, "", ("receivers", "processors", "exporters", "service"), empty="the file")
    receivers = _components(keys, "receivers", {"otlp": _read_otlp})
    processors = _components(keys, "processors", {}) if keys.get("processors") is not None else {}
    exporters = _components(keys, "exporters", {"store": _read_store})
    service = _section(keys.get("service"), "service", ("pipelines",))
    signals = [signal.value for signal in Signal]
    pipelines = _section(service.get("pipelines"), "service.pipelines", signals)
    return CollectorConfig(
        receivers=receivers,
        pipelines={
            Signal(name): _read_pipeline(pipeline, f"service.pipelines.{name}", receivers, processors, exporters)
            for name, pipeline in pipelines.items()
        },
    )


def _section(value: Any, path: str, accepted: Collection[str], *, empty: str = "it") -> dict[str, Any]:
    """A mapping that must be there, must hold something, and may hold the accepted keys only."""
    if value is None or value == {}:
        raise _KeyError(path, f"{empty} is missing or empty; accepted: {', '.join(accepted)}")
    return _mapping(value, path, accepted)


def _mapping(value: Any, path: str, accepted: Collection[str]) -> dict[str, Any]:
    """A mapping with accepted keys only; empty when there is none."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _KeyError(path, f"a mapping is needed, not {_excerpt(value)}; accepted: {', '.join(accepted)}")
    for key in value:
        if key not in accepted:
            raise _KeyError(_join(path, key), f"unknown key{_hint(key, accepted)}")
    return value


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _excerpt(value: object) -> str:
    """A value of the file, cut to a length that fits a message."""
    text = str(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _hint(word: object, accepted: Collection[str]) -> str:
    """What was probably meant, and everything that is accepted."""
    close = difflib.get_close_matches(str(word), accepted, n=1)
    meant = f', did you mean "{close[0]}"?' if close else ";"
    return f"{meant} accepted: {', '.join(accepted) or 'none yet'}"


def _components(
    keys: Mapping[str, Any], section: str, types: Mapping[str, Callable[[Any, str], Any]]
) -> dict[str, Any]:
    """The components of a section by id, each read by the reader of its type."""
    value = keys.get(section)
    if value is None or (value == {} and types):
        raise _KeyError(section, f"it is missing or empty; accepted: {', '.join(types)}")
    if not isinstance(value, dict):
        raise _KeyError(section, f"a mapping of component ids is needed, not {_excerpt(value)}")
    components = {}
    for component_id, body in value.items():
        path = f"{section}.{component_id}"
        if not isinstance(component_id, str) or not _COMPONENT_ID.match(component_id):
            raise _KeyError(path, "a component id is a type, or a type and a name: otlp, otlp/internal")
        kind = component_type(component_id)
        if kind not in types:
            raise _KeyError(path, f'unknown {section.removesuffix("s")} type "{kind}"{_hint(kind, types)}')
        components[component_id] = types[kind](body, path)
    return components


def _read_otlp(value: Any, path: str) -> OtlpConfig:
    otlp = _section(value, path, ("protocols",))
    path = f"{path}.protocols"
    protocols = _section(otlp["protocols"], path, ("grpc", "http"))
    return OtlpConfig(
        grpc=_read_protocol(protocols["grpc"], f"{path}.grpc", 4317, "max_recv_msg_size_mib", _MIB)
        if "grpc" in protocols
        else None,
        http=_read_protocol(protocols["http"], f"{path}.http", 4318, "max_request_body_size", 1)
        if "http" in protocols
        else None,
    )


def _read_protocol(value: Any, path: str, default_port: int, size_key: str, unit: int) -> ProtocolConfig:
    """One protocol; `size_key` names its size limit, counted in `unit` bytes."""
    keys = _mapping(value, path, ("endpoint", size_key))
    endpoint = Endpoint("127.0.0.1", default_port)
    if "endpoint" in keys:
        endpoint = _read_endpoint(keys["endpoint"], f"{path}.endpoint")
    size = keys.get(size_key, _DEFAULT_MAX_BYTES // unit)
    if type(size) is not int or not 1 <= size <= _DEFAULT_MAX_BYTES // unit:
        largest = _DEFAULT_MAX_BYTES // unit
        raise _KeyError(f"{path}.{size_key}", f"an integer from 1 to {largest} is needed, not {_excerpt(size)}")
    return ProtocolConfig(endpoint, size * unit)


def _read_endpoint(value: Any, path: str) -> Endpoint:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    is_port = port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535
    is_host = bool(re.fullmatch(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+", host))
    if not (colon and is_port and is_host):
        raise _KeyError(path, f"host:port is needed, like 127.0.0.1:4318, not {_excerpt(value)}")
    return Endpoint(host.strip("[]"), int(port))


def _read_store(value: Any, path: str) -> None:
    """The store exporter has no keys: which store it writes to is not the configuration file's matter."""
    if value:
        keys = list(value) if isinstance(value, dict) else [value]
        raise _KeyError(_join(path, keys[0]), "unknown key; the store exporter takes none")


def _read_pipeline(
    value: Any, path: str, receivers: Collection[str], processors: Collection[str], exporters: Collection[str]
) -> PipelineConfig:
    keys = _section(value, path, ("receivers", "processors", "exporters"))
    exporter_ids = _read_ids(keys.get("exporters"), f"{path}.exporters", exporters, "exporters")
    if len(exporter_ids) > 1:
        raise _KeyError(f"{path}.exporters", f"one exporter is needed, not {len(exporter_ids)}: a copy adds nothing")
    return PipelineConfig(
        receivers=_read_ids(keys.get("receivers"), f"{path}.receivers", receivers, "receivers"),
        processors=_read_ids(keys["processors"], f"{path}.processors", processors, "processors")
        if keys.get("processors")
        else (),
        exporter=exporter_ids[0],
    )


def _read_ids(value: Any, path: str, defined: Collection[str], section: str) -> tuple[str, ...]:
    """A list of ids of defined components, at least one."""
    if not isinstance(value, list) or not value:
        raise _KeyError(path, f"a list of {section} is needed, like [{next(iter(defined), '')}], not {_excerpt(value)}")
    for component_id in value:
        if not isinstance(component_id, str) or component_id not in defined:
            problem = f'"{_excerpt(component_id)}" is not defined under {section}{_hint(component_id, defined)}'
            raise _KeyError(path, problem)
    if len(set(value)) < len(value):
        raise _KeyError(path, f"a component stands twice in {_excerpt(value)}")
    return tuple(value)
