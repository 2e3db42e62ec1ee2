"""docker-compose.yml and Dockerfile hold together: their shape, their files, and every command they start."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
TEXTS = {"type": "array", "items": {"type": "string"}}
# The part of the Compose specification that the file uses; anything else is a typing error.
SCHEMA = {
    "type": "object",
    "required": ["services"],
    "additionalProperties": False,
    "properties": {
        "services": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["image", "command"],
                "additionalProperties": False,
                "properties": {
                    "build": {"type": "string"},
                    "image": {"type": "string"},
                    "command": {**TEXTS, "minItems": 1},
                    "ports": {"type": "array", "items": {"pattern": r"^127\.0\.0\.1:\d+:\d+$"}},
                    "environment": {"type": "object", "additionalProperties": {"type": "string"}},
                    "volumes": {"type": "array", "items": {"pattern": r"^[a-z-]+:/[a-z]+$"}},
                    "depends_on": TEXTS,
                },
            },
        },
        "volumes": {"type": "object", "additionalProperties": {"type": "null"}},
    },
}


def commands():
    """Every command that a container starts, `spanwise run` and what it runs as two."""
    for service in COMPOSE["services"].values():
        before, separator, after = "\0".join(service["command"]).partition("\0--\0")
        yield before.split("\0")
        if separator:
            yield after.split("\0")
    yield yaml.safe_load(re.search(r"^CMD (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[1])


def help_of(command):
    """What the command's --help prints, without the words that follow its name."""
    if command[0] == "spanwise":
        argv = [sys.executable, "-m", "spanwise", command[1], "--help"]
    else:
        argv = [sys.executable, *command[1:3], "--help"]
    asked = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert asked.returncode == 0, asked.stderr
    return asked.stdout


def test_compose_has_the_shape_that_compose_wants():
    """Only known keys with values of the right type, and every port on loopback."""
    jsonschema.validate(COMPOSE, SCHEMA)


def test_names_in_compose_refer_to_something():
    """Every volume that is mounted and every service that is waited for is declared."""
    services = COMPOSE["services"]
    mounted = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    awaited = {name for service in services.values() for name in service.get("depends_on", [])}
    endpoint = services["shop"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]

    assert mounted == set(COMPOSE["volumes"])
    assert awaited <= set(services)
    assert re.fullmatch(r"http://(\w+):4318", endpoint)[1] in services


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_command_and_flag_exists(command):
    """The command's own --help knows each flag that a container passes."""
    if command[0] == "spanwise" and not importlib.util.find_spec("spanwise.cli"):
        pytest.skip("spanwise.cli is not there yet")
    known = set(re.findall(r"--[a-z-]+", help_of(command)))

    assert {word for word in command if word.startswith("--")} <= known


def test_paths_in_the_image_exist_in_the_checkout():
    """What a command reads under /app is a file or directory of the checkout that the build context lets in."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    paths = [word.removeprefix("/app/") for command in commands() for word in command if word.startswith("/app/")]

    assert paths
    assert all((ROOT / path).exists() and path.split("/")[0] in allowed for path in paths)


def test_the_build_context_has_what_the_wheel_is_made_of():
    """All that pyproject.toml packs, and all that the Dockerfile names, exists and is let in by .dockerignore."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    project = (ROOT / "pyproject.toml").read_text()
    packages = set(re.findall(r'"(\w+)"', re.search(r"^packages = (\[.*\])$", project, re.MULTILINE)[1]))
    wanted = packages | {"pyproject.toml", "constraints.txt", "README.md", "collector-config", "demo_app"}

    assert wanted <= allowed
    assert {name for name in allowed if not (ROOT / name).exists()} == set()
