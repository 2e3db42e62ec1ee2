"""The shop's four processes as plain data, for whoever starts them."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """One process: `env` is laid over the starter's own environment, `cwd` is where `python -m demo_app…` works."""

    name: str
    argv: list[str]
    env: dict[str, str]
    cwd: Path = Path(__file__).parents[1]


@dataclass(frozen=True)
class Ports:
    """Where the two services listen, on 127.0.0.1."""

    storefront: int
    payments: int


def free_ports() -> Ports:
    """Two ports that are free now."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return Ports(first.getsockname()[1], second.getsockname()[1])


def processes(
    python: str, data_dir: Path, ports: Ports | None = None, rate: float = 4.0, duration_s: float | None = None
) -> list[Process]:
    """Payments, storefront, worker and load, in the order to start them; without a duration the load never ends."""
    ports = ports or free_ports()
    env = {"SHOP_DATA": str(data_dir), "SHOP_PAYMENTS_URL": f"http://127.0.0.1:{ports.payments}"}
    load = ["--url", f"http://127.0.0.1:{ports.storefront}", "--rate", str(rate)]
    if duration_s is not None:
        load += ["--duration", str(duration_s)]
    arguments = {
        "payments": ["--port", str(ports.payments)],
        "storefront": ["--port", str(ports.storefront)],
        "worker": [],
        "load": load,
    }
    return [Process(name, [python, "-m", f"demo_app.{name}", *flags], env) for name, flags in arguments.items()]
