"""`spanwise doctor`: why do I see nothing? Checks in the order in which telemetry travels, each with its cure."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from spanwise.access import TOKEN_NAME, is_loopback
from spanwise.agent_variables import agent_variables
from spanwise.check import Check
from spanwise.control import fetch_json
from spanwise.data_dir import Instance, running_instance
from spanwise.doctor_app import check_command, check_environment
from spanwise.doctor_variables import check_variables
from spanwise.settings import Settings, environment
from spanwise.status import ago, printable, read_health

MIN_FREE_BYTES = 500_000_000
MARKS = {"ok": "✓", "warn": "▲", "fail": "✗"}


def print_diagnosis(settings: Settings, argv: Sequence[str]) -> int:
    """Print every check, those on the command `argv` too if there is one; give 1 when one failed, else 0."""
    checks = list(diagnose(settings, environment(), argv))
    for check in checks:
        print(f"{MARKS[check.state]} {printable(check.finding)}")
        if check.cure:
            print(f"    → {check.cure}")
    failed = sum(check.state == "fail" for check in checks)
    print(f"\n{failed} of {len(checks)} checks failed." if failed else f"\nNone of {len(checks)} checks failed.")
    return 1 if failed else 0


def diagnose(settings: Settings, variables: Mapping[str, str], argv: Sequence[str] = ()) -> Iterator[Check]:
    """Every check on a data directory, on the environment that this command runs in, and on the command `argv`."""
    instance = running_instance(settings.data_dir)
    yield _check_running(instance, settings)
    yield from _check_ports(instance, settings)
    yield _check_data_dir(settings.data_dir)
    yield from check_variables(variables, instance)
    if argv:
        yield from check_command(argv, {**variables, **agent_variables(settings.data_dir, argv, variables)})
    else:
        yield from check_environment(sys.executable, variables)
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
