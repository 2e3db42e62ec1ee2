"""The ports that a configuration file names, asked of a short-lived child process.

What reads and checks a whole configuration is large, and the supervisor, which stays, needs nothing else of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from spanwise.settings import environment


class ConfigFileError(Exception):
    """The configuration cannot be used; the message names the file, the key, and what is accepted."""


def config_ports(path: Path) -> tuple[int | None, int | None]:
    """The ports for OTLP over HTTP and over gRPC that a configuration file names; None where it has no such endpoint.

    Raises ConfigFileError when any part of the file is not valid, ModuleNotFoundError without the server's libraries.
    """
    command = [sys.executable, "-m", "spanwise.config_ports", str(path)]
    answer = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    if "missing" in answer:
        raise ModuleNotFoundError(name=answer["missing"])
    if "refused" in answer:
        raise ConfigFileError(answer["refused"])
    return answer["http_port"], answer["grpc_port"]


def _read(path: Path) -> dict[str, Any]:
    """What the child answers."""
    try:
        from apm_collector.config import ConfigError, load_config
    except ModuleNotFoundError as error:
        return {"missing": error.name}
    try:
        config = load_config(path, environment())
    except ConfigError as error:
        return {"refused": str(error)}
    return {"http_port": config.http_port, "grpc_port": config.grpc_port}


if __name__ == "__main__":
    print(json.dumps(_read(Path(sys.argv[1]))))
