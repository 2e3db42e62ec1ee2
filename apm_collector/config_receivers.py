"""What the configuration file may say of receivers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from apm_collector.config_keys import ConfigKeyError, Keys, excerpt

_MIB = 1024 * 1024
_DEFAULT_MAX_BYTES = 64 * _MIB  # what OTLP recommends
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/\s]+\Z", re.IGNORECASE)

RECEIVER_KEYS = {
    "receivers.otlp.protocols.grpc.endpoint": "host:port of OTLP over gRPC; leave `grpc` out to switch it off",
    "receivers.otlp.protocols.grpc.max_recv_msg_size_mib": "largest request after decompression, 1 to 64 MiB",
    "receivers.otlp.protocols.http.endpoint": "host:port of OTLP over HTTP; leave `http` out to switch it off",
    "receivers.otlp.protocols.http.max_request_body_size": "largest request after decompression, up to 67108864 bytes",
    "receivers.otlp.protocols.http.cors.allowed_origins": (
        "origins whose pages may send from a browser, like `https://app.example.com`; `*` stands for any characters; "
        "without `cors` none may"
    ),
    "receivers.otlp.protocols.http.cors.allowed_headers": "request headers that they may set besides the usual ones",
    "receivers.otlp.protocols.http.cors.max_age": "seconds for which a browser may remember the answer",
}
"""What the section may hold, for the reference."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a receiver listens; port 0 asks for any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class CorsConfig:
    """Which pages may send from a browser.

    An origin may hold `*` for any characters; `allowed_headers` come in addition to those of a simple request;
    `max_age_s` is None when the browser decides.
    """

    allowed_origins: tuple[str, ...]
    allowed_headers: tuple[str, ...]
    max_age_s: int | None


@dataclass(frozen=True, slots=True)
class ProtocolConfig:
    """One protocol of an OTLP receiver: where it listens, and how large a request may be after decompression.

    `cors` is None when no page may send from a browser, which is always so for gRPC.
    """

    endpoint: Endpoint
    max_request_bytes: int
    cors: CorsConfig | None = None


@dataclass(frozen=True, slots=True)
class OtlpConfig:
    """An OTLP receiver; a protocol that is None is off."""

    grpc: ProtocolConfig | None
    http: ProtocolConfig | None


def read_otlp_receiver(value: Any, path: str) -> OtlpConfig:
    """The `otlp` receiver at a key path; raises ConfigKeyError."""
    otlp = Keys(value, path, ("protocols",), needed="it")
    protocols = otlp.section("protocols", ("grpc", "http"), needed="it")
    return OtlpConfig(
        grpc=_read_grpc(protocols) if "grpc" in protocols else None,
        http=_read_http(protocols) if "http" in protocols else None,
    )


def _read_grpc(protocols: Keys) -> ProtocolConfig:
    keys = protocols.section("grpc", ("endpoint", "max_recv_msg_size_mib"))
    largest = _DEFAULT_MAX_BYTES // _MIB
    size_mib = keys.integer("max_recv_msg_size_mib", largest, 1, largest)
    return ProtocolConfig(_read_endpoint(keys, 4317), size_mib * _MIB)


def _read_http(protocols: Keys) -> ProtocolConfig:
    keys = protocols.section("http", ("endpoint", "max_request_body_size", "cors"))
    size = keys.integer("max_request_body_size", _DEFAULT_MAX_BYTES, 1, _DEFAULT_MAX_BYTES)
    return ProtocolConfig(_read_endpoint(keys, 4318), size, _read_cors(keys))


def _read_endpoint(keys: Keys, default_port: int) -> Endpoint:
    value = keys.values.get("endpoint", f"127.0.0.1:{default_port}")
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    is_port = port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535
    is_host = bool(re.fullmatch(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+", host))
    if not (colon and is_port and is_host):
        raise ConfigKeyError(f"{keys.path}.endpoint", f"host:port is needed, like 127.0.0.1:4318, not {excerpt(value)}")
    return Endpoint(host.strip("[]"), int(port))


def _read_cors(http: Keys) -> CorsConfig | None:
    keys = http.section("cors", ("allowed_origins", "allowed_headers", "max_age"))
    if not keys.values:
        return None
    origins = keys.texts("allowed_origins")
    if not origins:
        raise keys.fault("allowed_origins", "a list of origins like https://app.example.com")
    for origin in origins:
        if not _ORIGIN.match(origin):
            problem = f"an origin is needed, like https://app.example.com, not {excerpt(origin)}"
            raise ConfigKeyError(f"{keys.path}.allowed_origins", problem)
    max_age_s = keys.integer("max_age", 0, 0, 86_400) if "max_age" in keys else None
    return CorsConfig(origins, keys.texts("allowed_headers"), max_age_s)
