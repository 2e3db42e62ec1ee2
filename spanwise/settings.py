"""Every setting of the stack: its flag, its environment variable, its default and its meaning, in one table.

This is the one place of the server where the environment is read; everyone else is given values.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spanwise.files.moments import SECOND_NS, parse_duration, parse_size

MIN_BUDGET_BYTES = 50_000_000
"""With less a store would drop segments as fast as it fills them."""

MAX_BUDGET_BYTES = 10**15
MIN_AGE_S = 3600


class SettingsError(ValueError):
    """A setting has a value that it cannot have; the message names both, and the cure."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. `default` None means: see `help`."""

    name: str
    flag: str
    variable: str
    metavar: str
    default: str | int | None
    help: str


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "data_dir",
        "--data",
        "SPANWISE_DATA",
        "DIR",
        None,
        "Where telemetry is kept. Default: ~/.local/share/spanwise, for the demo ~/.local/share/spanwise-demo.",
    ),
    Setting(
        "config_file",
        "--config",
        "SPANWISE_CONFIG",
        "FILE",
        None,
        "The collector's configuration. Default: collector-config/local.yaml.",
    ),
    Setting(
        "slos_dir",
        "--slos",
        "SPANWISE_SLOS",
        "DIR",
        None,
        "OpenSLO files with your objectives. Default: `slos` in the data directory.",
    ),
    Setting(
        "host",
        "--host",
        "SPANWISE_HOST",
        "ADDRESS",
        "127.0.0.1",
        "The address that every port is opened on; the hosts in the configuration give way to it.",
    ),
    Setting(
        "auth",
        "--auth",
        "SPANWISE_AUTH",
        "token|none",
        "token",
        "What an address other than loopback asks for: the token in the file `token` of the data directory, "
        "or nothing, when the network in front lets in only who may come.",
    ),
    Setting("ui_port", "--ui-port", "SPANWISE_UI_PORT", "PORT", 5000, "The port of the UI and its JSON API."),
    Setting(
        "otlp_http_port",
        "--otlp-http-port",
        "SPANWISE_OTLP_HTTP_PORT",
        "PORT",
        None,
        "The port for OTLP over HTTP. Default: the configuration's, 4318.",
    ),
    Setting(
        "otlp_grpc_port",
        "--otlp-grpc-port",
        "SPANWISE_OTLP_GRPC_PORT",
        "PORT",
        None,
        "The port for OTLP over gRPC. Default: the configuration's, 4317.",
    ),
    Setting(
        "max_bytes",
        "--max-bytes",
        "SPANWISE_MAX_BYTES",
        "SIZE",
        None,
        "How much of the disk the store may take, 50MB at least: 800MB, 5GB. "
        "Default: a tenth of the disk space that is free or held already, 5GB at most.",
    ),
    Setting(
        "max_age_s",
        "--max-age",
        "SPANWISE_MAX_AGE",
        "AGE",
        None,
        "How long raw telemetry stays, counted from its receipt, 1h at least: 12h, 30d. "
        "Default: as long as there is room.",
    ),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a developer passes around: one value per row of SETTINGS.

    A port of None is left to the configuration, a bound of None to the store.
    """

    data_dir: Path
    config_file: Path
    slos_dir: Path
    host: str = "127.0.0.1"
    auth: str = "token"
    ui_port: int = 5000
    otlp_http_port: int | None = None
    otlp_grpc_port: int | None = None
    max_bytes: int | None = None
    max_age_s: int | None = None

    def to_json(self) -> str:
        """The settings as one argument for a part's command line."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """The inverse of `to_json`."""
        values: dict[str, Any] = json.loads(text)
        for name in ("data_dir", "config_file", "slos_dir"):
            values[name] = Path(values[name])
        return cls(**values)


def environment() -> dict[str, str]:
    """A copy of the process's environment."""
    return dict(os.environ)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give a command one flag per setting."""
    for setting in SETTINGS:
        text = setting.help if setting.default is None else f"{setting.help} Default: {setting.default}."
        parser.add_argument(
            setting.flag, dest=setting.name, metavar=setting.metavar, help=f"{text} [{setting.variable}]"
        )


def load_settings(
    flags: Mapping[str, str | None], variables: Mapping[str, str], *, data_name: str = "spanwise"
) -> Settings:
    """Settle every setting: flag, else environment variable, else default.

    `data_name` is the last part of the default data directory. Raises SettingsError.
    """
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        values[setting.name] = flags.get(setting.name) or variables.get(setting.variable) or setting.default
    data_dir = Path(values["data_dir"] or _default_data_dir(variables, data_name)).expanduser().absolute()
    return Settings(
        data_dir=data_dir,
        config_file=Path(values["config_file"]).absolute() if values["config_file"] else default_config_file(),
        slos_dir=Path(values["slos_dir"]).absolute() if values["slos_dir"] else data_dir / "slos",
        host=values["host"],
        auth=_auth(values["auth"]),
        ui_port=_port("ui_port", values["ui_port"]) or 0,
        otlp_http_port=_port("otlp_http_port", values["otlp_http_port"]),
        otlp_grpc_port=_port("otlp_grpc_port", values["otlp_grpc_port"]),
        max_bytes=_max_bytes(values["max_bytes"]),
        max_age_s=_max_age_s(values["max_age_s"]),
    )


def default_config_file() -> Path:
    """The configuration that comes with Spanwise: inside the installed package, or in the checkout."""
    installed = Path(__file__).with_name("local.yaml")
    return installed if installed.exists() else Path(__file__).parents[1] / "collector-config" / "local.yaml"


def _default_data_dir(variables: Mapping[str, str], data_name: str) -> Path:
    home = variables.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home) / data_name


def _auth(value: str) -> str:
    if value not in {"token", "none"}:
        raise SettingsError(f"--auth is “{value}”; it is token or none.")
    return value


def _port(name: str, value: Any) -> int | None:
    if value is None:
        return None
    try:
        port = int(value)
    except ValueError:
        port = -1
    if not 0 < port < 65536:
        flag = next(setting.flag for setting in SETTINGS if setting.name == name)
        raise SettingsError(f"{flag} is “{value}”; a port is a number from 1 to 65535.")
    return port


def _max_bytes(value: str | None) -> int | None:
    if value is None:
        return None
    size = _parsed("--max-bytes", value, parse_size)
    if not MIN_BUDGET_BYTES <= size <= MAX_BUDGET_BYTES:
        raise SettingsError(f"--max-bytes is “{value}”; it is from 50MB to 1000TB. Write 800MB or 5GB.")
    return size


def _max_age_s(value: str | None) -> int | None:
    if value is None:
        return None
    age_s = _parsed("--max-age", value, parse_duration) // SECOND_NS
    if age_s < MIN_AGE_S:
        raise SettingsError(f"--max-age is “{value}”; raw telemetry stays 1h at least. Write 12h or 30d.")
    return age_s


def _parsed(flag: str, value: str, parse: Callable[[str], int]) -> int:
    try:
        return parse(value)
    except argparse.ArgumentTypeError as error:
        raise SettingsError(f"{flag}: {error}.") from error
