"""What `spanwise doctor` reads out of OTEL_* and proxy variables: what keeps telemetry away, each with its cure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, urlsplit

from spanwise.access import EVERYWHERE, is_loopback, reachable
from spanwise.agent_variables import DEFAULT_ENDPOINT
from spanwise.check import Check
from spanwise.data_dir import Instance

_SIGNALS = {"TRACES": "span", "METRICS": "metric", "LOGS": "log record"}
_HTTP, _GRPC = "http/protobuf", "grpc"


def check_variables(variables: Mapping[str, str], instance: Instance | None) -> Iterator[Check]:
    """Everything in an environment that keeps telemetry from arriving at an instance, or at the usual ports."""
    yield from _check_switches(variables)
    yield from _check_sampler(variables)
    for signal in _SIGNALS:
        yield from _check_way(variables, signal, instance)
    yield from _check_proxy(variables)


def _check_switches(variables: Mapping[str, str]) -> Iterator[Check]:
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        yield Check("fail", "OTEL_SDK_DISABLED is true here: nothing is recorded.", "unset OTEL_SDK_DISABLED")
    if file := variables.get("OTEL_CONFIG_FILE"):
        finding = f"OTEL_CONFIG_FILE is {file} here: OpenTelemetry reads that file, and no other OTEL_ variable."
        yield Check("warn", finding, "unset OTEL_CONFIG_FILE, or name the endpoint in that file")
    for signal, item in _SIGNALS.items():
        name = f"OTEL_{signal}_EXPORTER"
        exporters = {word.strip() for word in variables.get(name, "").lower().split(",")} - {""}
        if exporters == {"none"}:
            state = "fail" if signal == "TRACES" else "warn"
            yield Check(state, f"{name} is none here: no {item} is sent.", f"unset {name}")
        elif exporters and not any(one.startswith("otlp") for one in exporters):
            finding = f"{name} is {variables[name]} here: no {item} is sent to a collector."
            yield Check("warn", finding, f"export {name}={','.join(['otlp', *sorted(exporters)])}")
    for name in ("OTEL_PYTHON_DISTRO", "OTEL_PYTHON_CONFIGURATOR"):
        if variables.get(name, "spanwise") not in {"spanwise", ""}:
            finding = f"{name} is {variables[name]} here: opentelemetry-instrument starts that instead of Spanwise's."
            yield Check("warn", finding, f"unset {name}, or start the app with: spanwise run")
    if off := variables.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"):
        state = "fail" if off.strip() == "*" else "warn"
        finding = f"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS is {off} here: these libraries are not traced."
        yield Check(state, finding, "unset OTEL_PYTHON_DISABLED_INSTRUMENTATIONS")


def _check_sampler(variables: Mapping[str, str]) -> Iterator[Check]:
    sampler = variables.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    if sampler.endswith("always_off"):
        yield Check("fail", f"OTEL_TRACES_SAMPLER is {sampler} here: no span is kept.", "unset OTEL_TRACES_SAMPLER")
    if not sampler.endswith("traceidratio"):
        return
    text = variables.get("OTEL_TRACES_SAMPLER_ARG", "")
    try:
        ratio = float(text or 1)
    except ValueError:
        ratio = math.nan
    cure = "export OTEL_TRACES_SAMPLER_ARG=1"
    if not 0 <= ratio <= 1:
        yield Check("warn", f"OTEL_TRACES_SAMPLER_ARG is {text} here; it is a number from 0 to 1.", cure)
    elif ratio == 0:
        yield Check("fail", f"OTEL_TRACES_SAMPLER_ARG is {text} here: no trace is kept.", cure)
    elif ratio < 1:
        yield Check("warn", f"OTEL_TRACES_SAMPLER_ARG is {text} here: {ratio:.4g} of the traces are kept.", cure)


def _check_way(variables: Mapping[str, str], signal: str, instance: Instance | None) -> Iterator[Check]:
    """Whether protocol and endpoint of a signal fit together, and lead here."""
    protocol_name = _set_name(variables, signal, "PROTOCOL")
    protocol = variables.get(protocol_name) or _HTTP
    if protocol not in {_HTTP, _GRPC}:
        finding = f"{protocol_name} is {protocol} here; OpenTelemetry for Python speaks {_HTTP} and {_GRPC}."
        if protocol_name != "OTEL_EXPORTER_OTLP_PROTOCOL" or signal == "TRACES":  # the agent puts its default there
            yield Check("warn", finding, f"export {protocol_name}={_HTTP}")
        return
    endpoint_name = _set_name(variables, signal, "ENDPOINT")
    endpoint = variables.get(endpoint_name, "")
    parts = _parts(endpoint)
    if not endpoint or (signal != "TRACES" and endpoint_name == "OTEL_EXPORTER_OTLP_ENDPOINT"):
        return  # nothing set, or told with the traces already
    if parts is None or not parts.hostname:
        cure = f"export {endpoint_name}={_address(instance, protocol)}"
        yield Check("fail", f"{endpoint_name} is {endpoint} here; it must be a URL.", cure)
        return
    yield from _check_endpoint(endpoint_name, parts, protocol, instance)
    is_own = endpoint_name != "OTEL_EXPORTER_OTLP_ENDPOINT"
    if is_own and protocol == _HTTP and not parts.path.strip("/"):
        finding = f"{endpoint_name} is {endpoint} here, without a path; for one signal it is used as it stands."
        yield Check("fail", finding, f"export {endpoint_name}={endpoint.rstrip('/')}/v1/{signal.lower()}")


def _check_endpoint(name: str, parts: SplitResult, protocol: str, instance: Instance | None) -> Iterator[Check]:
    expected = {_HTTP: _parts(_address(instance, _HTTP)), _GRPC: _parts(_address(instance, _GRPC))}
    other = _HTTP if protocol == _GRPC else _GRPC
    mine, theirs = expected[protocol], expected[other]
    if theirs and mine and parts.port == theirs.port != mine.port:
        finding = f"{name} is {parts.geturl()} here, the port for {other}; the protocol is {protocol}."
        yield Check("fail", finding, f"export {name}={mine.geturl()}, or OTEL_EXPORTER_OTLP_PROTOCOL={other}")
    elif instance and mine and (parts.port, _host(parts)) != (mine.port, _host(mine)):
        finding = f"{name} is {parts.geturl()} here; this Spanwise listens at {mine.geturl()}."
        yield Check("warn", finding, f"export {name}={mine.geturl()}")
    elif parts.hostname in EVERYWHERE:
        finding = f"{name} is {parts.geturl()} here: that is an address to listen on; not every system sends to it."
        yield Check("warn", finding, f"export {name}={parts.scheme}://{EVERYWHERE[parts.hostname]}:{parts.port}")


def _check_proxy(variables: Mapping[str, str]) -> Iterator[Check]:
    """A proxy between the app and its collector. The agent's own HTTP goes to loopback directly, gRPC does not."""
    endpoint = _parts(variables.get(_set_name(variables, "TRACES", "ENDPOINT"), "") or DEFAULT_ENDPOINT)
    protocol = variables.get(_set_name(variables, "TRACES", "PROTOCOL")) or _HTTP
    proxies = {name.lower(): value for name, value in variables.items() if name.lower().endswith("_proxy")}
    if endpoint is None or not endpoint.hostname:
        return
    proxy = proxies.get("grpc_proxy" if protocol == _GRPC else "") or proxies.get(f"{endpoint.scheme}_proxy")
    if not proxy or (protocol == _HTTP and is_loopback(endpoint.hostname)) or _is_bypassed(endpoint, proxies):
        return
    excepted = ",".join(filter(None, [proxies.get("no_proxy"), endpoint.hostname]))
    finding = f"Exports to {endpoint.geturl()} go through the proxy {_without_password(proxy)}, if it lets them by."
    yield Check("warn", finding, f"export NO_PROXY={excepted} no_proxy={excepted}")


def _is_bypassed(endpoint: SplitResult, proxies: Mapping[str, str]) -> bool:
    """Whether NO_PROXY excepts a host: the host itself, a domain above it, or everything."""
    host = endpoint.hostname or ""
    excepted = [word.strip().lstrip(".").lower() for word in proxies.get("no_proxy", "").split(",")]
    return any(word and (word in {"*", host, endpoint.netloc} or host.endswith(f".{word}")) for word in excepted)


def _set_name(variables: Mapping[str, str], signal: str, what: str) -> str:
    """The variable that counts for a signal: its own if it is set, else the one for all."""
    own = f"OTEL_EXPORTER_OTLP_{signal}_{what}"
    return own if variables.get(own) else f"OTEL_EXPORTER_OTLP_{what}"


def _address(instance: Instance | None, protocol: str) -> str:
    if protocol == _GRPC:
        return f"http://{reachable(instance.otlp_grpc)}" if instance else "http://127.0.0.1:4317"
    return f"http://{reachable(instance.otlp_http)}" if instance else DEFAULT_ENDPOINT


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for a port that is no number
    except ValueError:
        return None
    return parts if parts.scheme in {"http", "https"} else None


def _host(parts: SplitResult) -> str:
    """One spelling for all addresses of this machine; an instance on 0.0.0.0 is among them."""
    host = parts.hostname or ""
    return "loopback" if is_loopback(host) or host in EVERYWHERE else host


def _without_password(proxy: str) -> str:
    parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    return parts.netloc.rpartition("@")[2]
