"""The environment variables that make a command instrumented, and the service name a project gives itself."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path, PurePath

from otel_agent.companions import COMPANIONS
from otel_agent.settings import AGENT_PATH, VARIABLES, names_the_service

BOOTSTRAP_DIRECTORY = Path(__file__).parent / "bootstrap"

# Options of the interpreter that take the next word with them.
_OPTIONS_WITH_VALUE = {"-W", "-X", "--check-hash-based-pycs"}
_PROJECT_NAME = re.compile(r"^\[project\]\s*$(?:\n(?!\[).*)*?\n\s*name\s*=\s*[\"']([^\"'\n]+)[\"']", re.MULTILINE)
_METADATA_NAME = re.compile(r"^\[metadata\]\s*$(?:\n(?!\[).*)*?\n\s*name\s*=\s*([\w.-]+)", re.MULTILINE)


def agent_environment(service_name: str, endpoint: str, base_env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that instrument any Python process started with `base_env` plus these.

    Variables that `base_env` already sets keep their value and are left out, except PYTHONPATH, which is prepended to.
    """
    wanted = {v.name: v.default for v in VARIABLES if v.default is not None}
    if not names_the_service(base_env):
        wanted["OTEL_SERVICE_NAME"] = service_name
    if "grpc" not in base_env.get("OTEL_EXPORTER_OTLP_PROTOCOL", ""):  # gRPC has a port of its own, which the SDK knows
        wanted["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
    variables = {name: value for name, value in wanted.items() if not base_env.get(name)}
    kept = [path for path in base_env.get("PYTHONPATH", "").split(os.pathsep) if path]
    bootstrap = str(BOOTSTRAP_DIRECTORY)
    variables["PYTHONPATH"] = os.pathsep.join([bootstrap, *(path for path in kept if path != bootstrap)])
    variables[AGENT_PATH.name] = os.pathsep.join(agent_directories())
    return variables


def agent_directories() -> list[str]:
    """The directories of this environment in which the agent and all that it needs lie, in the order of import."""
    found = [str(BOOTSTRAP_DIRECTORY.parents[1])]
    for name in ("opentelemetry", *(module.partition(".")[0] for item in COMPANIONS for module in item.modules)):
        spec = PathFinder.find_spec(name)
        if spec:
            places = spec.submodule_search_locations or [spec.origin or ""]
            found += [str(Path(place).parent) for place in places]
    return list(dict.fromkeys(found))


def service_name_of(project_dir: Path, argv: Iterable[str]) -> str:
    """Name a service: pyproject.toml, else setup.cfg, else the script or module in `argv`, else the directory."""
    for file_name, pattern in (("pyproject.toml", _PROJECT_NAME), ("setup.cfg", _METADATA_NAME)):
        try:
            found = pattern.search((project_dir / file_name).read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
        if found:
            return found.group(1).strip()
    return _command_name(list(argv)) or project_dir.resolve().name or "python"


def _command_name(argv: list[str]) -> str:
    """Take "shop" from ["python", "-u", "shop.py"], ["-m", "shop.web"] or ["/venv/bin/shop"]; "" if there is none."""
    words = argv[1:] if argv and PurePath(argv[0]).name.startswith("python") else argv
    words = words[len(interpreter_options(words)) :]
    if words[:1] == ["-m"]:
        return words[1].partition(".")[0] if len(words) > 1 else ""
    return "" if words[:1] in ([], ["-c"], ["-"]) else PurePath(words[0]).name.removesuffix(".py")


def interpreter_options(words: Sequence[str]) -> list[str]:
    """Take from the words behind "python" those up to the script, -m, -c or -, the values of options included."""
    end = 0
    while end < len(words) and words[end].startswith("-") and words[end] not in {"-m", "-c", "-"}:
        end += 2 if words[end] in _OPTIONS_WITH_VALUE else 1
    return list(words[:end])
