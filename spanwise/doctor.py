"""`spanwise doctor`: why do I see nothing? Checks in the order in which telemetry travels, each with its cure."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from spanwise.access import TOKEN_NAME, is_loopback
from spanwise.control import fetch_json
from spanwise.data_dir import Instance, running_instance
from spanwise.settings import Settings, environment
from spanwise.status import ago, printable, read_health

MIN_FREE_BYTES = 500_000_000
MARKS = {"ok": "✓", "warn": "▲", "fail": "✗"}
# Our own instrumentation overrules these pins of the official packages.
OVERRULED_PINS = frozenset({"sqlalchemy"})


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check: `state` is ok, warn or fail; `cure` says what to do unless it is ok."""

    state: str
    finding: str
    cure: str = ""


def print_diagnosis(settings: Settings) -> int:
    """Print every check; give 1 when one failed, else 0."""
    checks = list(diagnose(settings, environment()))
    for check in checks:
        print(f"{MARKS[check.state]} {printable(check.finding)}")
        if check.cure:
            print(f"    → {check.cure}")
    failed = sum(check.state == "fail" for check in checks)
    print(f"\n{failed} of {len(checks)} checks failed." if failed else f"\nNone of {len(checks)} checks failed.")
    return 1 if failed else 0


def diagnose(settings: Settings, variables: Mapping[str, str]) -> Iterator[Check]:
    """Every check on a data directory and on the environment that this command runs in."""
    instance = running_instance(settings.data_dir)
    yield _check_running(instance, settings)
    yield from _check_ports(instance, settings)
    yield _check_data_dir(settings.data_dir)
    yield from _check_variables(variables, instance)
    yield from _check_instrumentations()
    if instance:
        yield from _check_access(instance, settings)
        yield from _check_services(instance, settings.data_dir)
    yield from _check_store(settings.data_dir)


def _check_running(instance: Instance | None, settings: Settings) -> Check:
    if instance is None:
        return Check("fail", f"Nothing runs on {settings.data_dir}.", "Start it with: spanwise up")
    return Check("ok", f"Spanwise runs with pid {instance.pid} on {settings.data_dir}.")


def _check_ports(instance: Instance | None, settings: Settings) -> Iterator[Check]:
    if instance is None:
        ports = (settings.ui_port, settings.otlp_http_port or 4318, settings.otlp_grpc_port or 4317)
        for port in ports:
            if _answers(f"{settings.host}:{port}"):
                yield Check("warn", f"Another program listens on port {port}.", "Stop it, or choose another port.")
        return
    for what, address in (("OTLP/HTTP", instance.otlp_http), ("OTLP/gRPC", instance.otlp_grpc), ("UI", instance.ui)):
        if _answers(address):
            yield Check("ok", f"{what} answers at {address}.")
        else:
            yield Check("fail", f"{what} does not answer at {address}.", "See the output of `spanwise up`.")


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def _check_data_dir(data_dir: Path) -> Check:
    existing = next((path for path in (data_dir, *data_dir.parents) if path.exists()), Path("/"))
    if not os.access(existing, os.W_OK):
        return Check("fail", f"{existing} cannot be written.", "Choose another directory with --data.")
    free = shutil.disk_usage(existing).free
    if free < MIN_FREE_BYTES:
        return Check("warn", f"Only {free / 1e6:.0f} MB are free for {data_dir}.", "Free some space or move --data.")
    return Check("ok", f"{data_dir} can be written; {free / 1e9:.1f} GB are free.")


def _check_variables(variables: Mapping[str, str], instance: Instance | None) -> Iterator[Check]:
    if variables.get("OTEL_SDK_DISABLED", "").lower() == "true":
        yield Check("fail", "OTEL_SDK_DISABLED is true here: nothing is recorded.", "unset OTEL_SDK_DISABLED")
    if variables.get("OTEL_TRACES_EXPORTER", "").lower() == "none":
        yield Check("fail", "OTEL_TRACES_EXPORTER is none here: no span is sent.", "unset OTEL_TRACES_EXPORTER")
    if variables.get("OTEL_TRACES_SAMPLER", "").endswith("always_off"):
        yield Check("fail", "OTEL_TRACES_SAMPLER is always_off here: no span is kept.", "unset OTEL_TRACES_SAMPLER")
    endpoint = variables.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    expected = f"http://{instance.otlp_http}" if instance else None
    if endpoint and expected and endpoint.rstrip("/").replace("localhost", "127.0.0.1") != expected:
        yield Check(
            "warn",
            f"OTEL_EXPORTER_OTLP_ENDPOINT is {endpoint} here; this Spanwise listens at {expected}.",
            f"export OTEL_EXPORTER_OTLP_ENDPOINT={expected}",
        )


def _check_instrumentations() -> Iterator[Check]:
    """Which libraries of this Python environment are traced, and which a version pin keeps from it."""
    from otel_agent.instrumentations import INSTRUMENTATIONS

    for item in INSTRUMENTATIONS:
        try:
            installed = version(item.LIBRARY)
        except PackageNotFoundError:
            continue  # the library is not in this environment: nothing to trace
        pin = _pin(item.LIBRARY, f"opentelemetry-instrumentation-{item.NAME}")
        if pin is None or _is_within(installed, pin):
            yield Check("ok", f"{item.LIBRARY} {installed} is traced.")
        elif item.LIBRARY in OVERRULED_PINS:
            yield Check("ok", f"{item.LIBRARY} {installed} is traced (the official pin {pin} is overruled).")
        else:
            yield Check(
                "warn",
                f"{item.LIBRARY} {installed} is outside of what its instrumentation takes ({pin}): it is not traced.",
                f"pip install '{item.LIBRARY}{pin}'",
            )


def _pin(library: str, package: str) -> str | None:
    """The versions of a library that an instrumentation package takes, as it declares them; None when it does not."""
    from packaging.requirements import Requirement

    try:
        declared = distribution(package).requires or []
    except PackageNotFoundError:
        return None
    requirements = [Requirement(line) for line in declared if "instruments" in line]
    return next((str(item.specifier) for item in requirements if item.name.lower() == library.lower()), None)


def _is_within(installed: str, pin: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(pin).contains(installed, prereleases=True)


def _check_access(instance: Instance, settings: Settings) -> Iterator[Check]:
    """Whether somebody else can reach the ports, and what they are asked for."""
    host = instance.ui.rpartition(":")[0].strip("[]")
    if is_loopback(host):
        return
    token = settings.data_dir / TOKEN_NAME
    if token.exists():
        yield Check("ok", f"The ports are open on {host}; every request needs the token in {token}.")
    else:
        yield Check(
            "warn",
            f"The ports are open on {host} and ask for no token.",
            "Start without --auth none, unless the network in front lets in only who may come.",
        )


def _check_store(data_dir: Path) -> Iterator[Check]:
    """What the store says that a person must know."""
    for notice in read_health(data_dir).get("notices", []):
        yield Check(
            "fail" if notice["state"] == "critical" else "warn", notice["text"], "See the page System in the UI."
        )


def _check_services(instance: Instance, data_dir: Path) -> Iterator[Check]:
    services = fetch_json(f"http://{instance.ui}/api/v1/services", data_dir).get("data", [])
    if not services:
        yield Check("warn", "No service has sent a span yet.", "Start your app with: spanwise run -- python app.py")
    for service in services:
        yield Check("ok", f"{service['service']} sent its last span {ago(service['last_seen_ns'])}.")
