"""What the configuration file may say of exporters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from apm_collector.config_keys import ConfigKeyError, Keys, excerpt, join

_MIB = 1024 * 1024
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")

_OTLP_KEYS = {
    "headers": "sent with each request, by name; a good place for `${env:TOKEN}`",
    "compression": "`gzip` (the default) or `none`",
    "timeout": "how long one attempt may take",
    "tls.insecure": "do without TLS",
    "retry_on_failure.initial_interval": "wait after the first failure",
    "retry_on_failure.max_interval": "longest wait between two attempts",
    "retry_on_failure.max_elapsed_time": "give a batch up after so long; `0s`: never",
    "sending_queue.queue_size": "bytes that may wait on disk while the other end is away; what comes on top is dropped",
    "sending_queue.sizer": "`bytes`, the one unit of `queue_size`",
}
EXPORTER_KEYS = {
    "exporters.store": "the store of this machine; it takes no keys",
    "exporters.otlp_grpc.endpoint": "host:port of a server that takes OTLP over gRPC; `otlp` is the same exporter",
    **{f"exporters.otlp_grpc.{key}": text for key, text in _OTLP_KEYS.items()},
    "exporters.otlp_http.endpoint": "URL to which `/v1/traces` and so on are added; `otlphttp` is the same exporter",
    **{f"exporters.otlp_http.{key}": text for key, text in _OTLP_KEYS.items() if not key.startswith("tls")},
    "exporters.otlp_http.tls.insecure_skip_verify": "do not verify the server's certificate",
    "exporters.debug.verbosity": "`basic` (a line per batch), `normal` (a line per item) or `detailed`",
}
"""What the section may hold, for the reference."""


@dataclass(frozen=True, slots=True)
class StoreExporterConfig:
    """The store exporter; which store it writes to is not the configuration file's matter."""


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """How a failed export is tried again, in seconds; `max_elapsed_s` is None when it is never given up."""

    initial_interval_s: float
    max_interval_s: float
    max_elapsed_s: float | None


@dataclass(frozen=True, slots=True)
class OtlpExporterConfig:
    """An exporter to another OTLP server.

    `protocol` is "grpc" or "http"; `endpoint` is host:port for gRPC, and a URL without a slash at its end for HTTP.
    `queue_bytes` bounds the queue on disk. `is_insecure` means no TLS for gRPC, and no verification for HTTP.
    """

    protocol: str
    endpoint: str
    headers: Mapping[str, str] = field(repr=False)  # they may hold credentials
    is_compressed: bool
    timeout_s: float
    queue_bytes: int
    is_insecure: bool
    retry: RetryConfig


@dataclass(frozen=True, slots=True)
class DebugExporterConfig:
    """An exporter that writes to the log; `verbosity` is basic, normal or detailed."""

    verbosity: str


ExporterConfig = StoreExporterConfig | OtlpExporterConfig | DebugExporterConfig


def read_store_exporter(value: Any, path: str) -> StoreExporterConfig:
    """The `store` exporter at a key path; raises ConfigKeyError, for it has no keys."""
    if value:
        keys = list(value) if isinstance(value, dict) else [value]
        raise ConfigKeyError(join(path, keys[0]), "unknown key; the store exporter takes none")
    return StoreExporterConfig()


def read_debug_exporter(value: Any, path: str) -> DebugExporterConfig:
    """The `debug` exporter at a key path; raises ConfigKeyError."""
    keys = Keys(value, path, ("verbosity",))
    return DebugExporterConfig(keys.choice("verbosity", "basic", ("basic", "normal", "detailed")))


def read_otlp_grpc_exporter(value: Any, path: str) -> OtlpExporterConfig:
    """The `otlp_grpc` exporter at a key path; raises ConfigKeyError."""
    keys = _otlp_keys(value, path)
    endpoint = keys.text("endpoint")
    scheme, separator, rest = endpoint.partition("://")
    if not separator:
        scheme, rest = "", endpoint
    host, _, port = rest.rpartition(":")
    if scheme not in ("", "http", "https") or not host or not port.isdecimal() or "/" in rest:
        raise keys.fault("endpoint", "host:port, like collector.example.com:4317,")
    is_insecure = keys.section("tls", ("insecure",)).flag("insecure", scheme == "http")
    return _read_otlp(keys, "grpc", rest, is_insecure)


def read_otlp_http_exporter(value: Any, path: str) -> OtlpExporterConfig:
    """The `otlp_http` exporter at a key path; raises ConfigKeyError."""
    keys = _otlp_keys(value, path)
    endpoint = keys.text("endpoint")
    if not _is_http_url(endpoint):
        raise keys.fault("endpoint", "a URL, like https://collector.example.com:4318,")
    is_insecure = keys.section("tls", ("insecure_skip_verify",)).flag("insecure_skip_verify", False)
    return _read_otlp(keys, "http", endpoint.rstrip("/"), is_insecure)


def _is_http_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and not url.query and (url.port or 1) > 0
    except ValueError:  # what the port is not
        return False


def _otlp_keys(value: Any, path: str) -> Keys:
    accepted = ("endpoint", "headers", "compression", "timeout", "tls", "retry_on_failure", "sending_queue")
    return Keys(value, path, accepted, needed="it")


def _read_otlp(keys: Keys, protocol: str, endpoint: str, is_insecure: bool) -> OtlpExporterConfig:
    queue = keys.section("sending_queue", ("queue_size", "sizer"))
    queue.choice("sizer", "bytes", ("bytes",))
    return OtlpExporterConfig(
        protocol=protocol,
        endpoint=endpoint,
        headers=_read_headers(keys),
        is_compressed=keys.choice("compression", "gzip", ("gzip", "none")) == "gzip",
        timeout_s=keys.duration_s("timeout", "5s" if protocol == "grpc" else "30s", low="100ms", high="10m"),
        queue_bytes=queue.integer("queue_size", 256 * _MIB, _MIB, 1024 * 1024 * _MIB),
        is_insecure=is_insecure,
        retry=_read_retry(keys),
    )


def _read_retry(keys: Keys) -> RetryConfig:
    retry = keys.section("retry_on_failure", ("initial_interval", "max_interval", "max_elapsed_time"))
    return RetryConfig(
        initial_interval_s=retry.duration_s("initial_interval", "5s", low="100ms"),
        max_interval_s=retry.duration_s("max_interval", "30s", low="100ms"),
        max_elapsed_s=retry.duration_s("max_elapsed_time", "0s", high="8760h") or None,  # the queue is on disk
    )


def _read_headers(keys: Keys) -> Mapping[str, str]:
    values, path = keys.values.get("headers"), join(keys.path, "headers")
    if values is not None and not isinstance(values, dict):
        raise ConfigKeyError(path, f"a mapping of header names to texts is needed, not {excerpt(values)}")
    for name, text in (values or {}).items():
        if not isinstance(name, str) or not _HEADER_NAME.match(name):
            raise ConfigKeyError(join(path, name), "it is no name of a header")
        if not isinstance(text, str) or not text.isprintable():
            raise ConfigKeyError(join(path, name), "printable text is needed (in quotes if it looks like a number)")
    return MappingProxyType(dict(values or {}))
