"""The composition root: what runs, in which order, read aloud.

Start: collector (it opens the store for writing), then the UI (it reads the same store). Stop: exactly the reverse.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from spanwise.access import TOKEN_NAME, AccessError, port_token
from spanwise.config_file import config_in_use
from spanwise.config_ports import ConfigFileError, config_ports
from spanwise.data_dir import DataDirError, Instance, claimed
from spanwise.settings import Settings, SettingsError, environment
from spanwise.supervisor import Part, PartError, Supervisor


class AddressError(Exception):
    """An address that Spanwise needs is not free; the message names it and the flag that changes it."""


def up(settings: Settings, more_parts: Callable[[Settings], Sequence[Part]] | None = None, *, welcome: str = "") -> int:
    """Run the stack until Ctrl-C or SIGTERM; give the exit status. `more_parts` start last and stop first."""
    try:
        settings = settle_ports(settings)
        instance = _instance(settings)
        with claimed(settings.data_dir, instance):
            _check_addresses(settings)
            if port_token(settings):
                welcome = f"Every request needs the token in {settings.data_dir / TOKEN_NAME}. {welcome}".rstrip()
            more = more_parts(settings) if more_parts else ()
            _run(Supervisor([*parts(settings), *more]), instance, welcome)
    except (AccessError, AddressError, ConfigFileError, DataDirError, PartError, SettingsError) as error:
        print(f"spanwise: {error}", file=sys.stderr)
        return 1
    return 0


def settle_ports(settings: Settings) -> Settings:
    """The settings with the ports that flags leave open taken from the configuration file.

    Raises ConfigFileError when that file is not valid.
    """
    http_port, grpc_port = config_ports(config_in_use(settings))
    return replace(
        settings,
        otlp_http_port=settings.otlp_http_port or http_port,
        otlp_grpc_port=settings.otlp_grpc_port or grpc_port,
    )


# glibc keeps up to 8 arenas per core and much of what was freed, unless it is told. To give back less than 1 MiB at
# once would cost twice the time to unpack a request, and saves 2 MB.
ALLOCATOR = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "1048576", "MALLOC_MMAP_THRESHOLD_": "1048576"}


def parts(settings: Settings) -> list[Part]:
    """The parts of the stack in the order of their start."""
    env = environment() | ALLOCATOR
    return [
        Part(name, [sys.executable, "-m", "spanwise.part", name, settings.to_json()], env)
        for name in ("collector", "ui")
    ]


def has_demo() -> bool:
    """Whether the demo shop is here: it lives in the checkout, not in the installed package."""
    return (Path(__file__).parents[1] / "demo_app" / "processes.py").exists()


def _run(supervisor: Supervisor, instance: Instance, welcome: str) -> None:
    try:
        supervisor.start()
        print(f"Spanwise is up: http://{instance.ui}", flush=True)
        print(f"  OTLP/HTTP {instance.otlp_http} · OTLP/gRPC {instance.otlp_grpc} · Ctrl-C stops", flush=True)
        if welcome:
            print(f"  {welcome}", flush=True)
        supervisor.run()
    finally:
        supervisor.stop()


def _instance(settings: Settings) -> Instance:
    host = settings.host
    return Instance(
        pid=os.getpid(),
        ui=f"{host}:{settings.ui_port}",
        otlp_http=f"{host}:{settings.otlp_http_port}",
        otlp_grpc=f"{host}:{settings.otlp_grpc_port}",
    )


def _check_addresses(settings: Settings) -> None:
    wanted = (
        ("--ui-port", settings.ui_port),
        ("--otlp-http-port", settings.otlp_http_port),
        ("--otlp-grpc-port", settings.otlp_grpc_port),
    )
    for flag, port in wanted:
        with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port or 0))
            except OSError as error:
                address = f"{settings.host}:{port}"
                raise AddressError(f"{address} is not free ({error.strerror}). Choose another with {flag}.") from error
