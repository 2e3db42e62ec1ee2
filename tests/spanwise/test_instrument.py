"""`spanwise instrument` on real environments: what it lists, what it installs, and when it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from stack import SPANWISE

OTEL = version("opentelemetry-instrumentation")


def _instrument(python: Path, *argv: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SPANWISE, "instrument", "--python", python, *argv],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | variables,
    )


def _rows(python: Path) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in json.loads(_instrument(python, "--json").stdout)["rows"]}


def test_list_tells_where_each_comes_from(venv: Callable[..., Path]) -> None:
    """What comes along, what the agent does itself, what is missing and what has an unsuitable version."""
    python = venv("Flask==3.1.0", "SQLAlchemy==2.1.9", "pymongo==4.9", "pymemcache==7.0")

    rows = _rows(python)
    words = _instrument(python).stdout

    found = {name: (row["state"], row["source"]) for name, row in rows.items()}
    assert found["flask"] == ("traced", "along")
    assert found["sqlalchemy"] == ("traced", "agent")
    assert found["pymongo"] == ("missing", "")
    assert rows["pymongo"]["package"] == f"opentelemetry-instrumentation-pymongo=={OTEL}"
    assert rows["pymemcache"]["state"] == "unsuitable"
    assert "takes pymemcache <5,>=1.3.5 only" in words
    assert f"spanwise instrument --add --python {python}" in words


def test_own_opentelemetry_decides_the_version_to_add(venv: Callable[..., Path]) -> None:
    """Where the app's own OpenTelemetry is used nothing comes along, and what is missing must fit to that."""
    core = ("api", "sdk", "exporter-otlp-proto-http")
    half = ("semantic-conventions", "instrumentation", "instrumentation-redis")
    python = venv(
        "flask==3.1.0",
        "redis==6.0",
        *(f"opentelemetry-{name}==1.99.0" for name in core),
        *(f"opentelemetry-{name}==0.79b0" for name in half),
    )

    rows = _rows(python)

    assert (rows["flask"]["state"], rows["flask"]["package"]) == (
        "missing",
        "opentelemetry-instrumentation-flask==0.79b0",
    )
    assert (rows["redis"]["state"], rows["redis"]["source"]) == ("traced", "app")


def test_conflict_is_said_with_its_cure(venv: Callable[..., Path]) -> None:
    """What keeps the agent away from an environment is said before everything else, and nothing is added to it."""
    python = venv("opentelemetry-api==1.30.0", "pymongo==4.9")

    shown, added = _instrument(python), _instrument(python, "--add")

    assert f"{python} -m pip install opentelemetry-api==" in shown.stdout.splitlines()[1]
    assert added.returncode == 1
    assert "the app has opentelemetry-api 1.30.0" in added.stderr


def test_add_installs_what_is_missing(venv: Callable[..., Path], tmp_path: Path) -> None:
    """The command is shown, run by that environment's pip, and then nothing is missing any more."""
    python = venv("pymongo==4.9", pip=True)
    name = f"opentelemetry_instrumentation_pymongo-{OTEL}"
    with zipfile.ZipFile(tmp_path / f"{name}-py3-none-any.whl", "w") as wheel:
        metadata = f"Metadata-Version: 2.1\nName: opentelemetry-instrumentation-pymongo\nVersion: {OTEL}\n"
        wheel.writestr(f"{name}.dist-info/METADATA", metadata)
        wheel.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{name}.dist-info/RECORD", "")

    added = _instrument(python, "--add", "pymongo", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    again = _instrument(python, "--add")

    command = f"{python} -m pip install opentelemetry-instrumentation-pymongo=={OTEL}"
    assert (added.returncode, added.stdout.splitlines()[0]) == (0, command)
    assert _rows(python)["pymongo"]["state"] == "traced"
    assert (again.returncode, again.stdout) == (0, "Nothing is missing.\n")


def test_add_without_pip_names_what_to_install(venv: Callable[..., Path]) -> None:
    """An environment without pip is left alone; the packages are named for whatever tool made it."""
    done = _instrument(venv("pymongo==4.9"), "--add")

    assert done.returncode == 1
    assert "has no pip" in done.stderr
    assert f"opentelemetry-instrumentation-pymongo=={OTEL}" in done.stderr


def test_add_of_an_unknown_name_is_wrong_usage(venv: Callable[..., Path]) -> None:
    """A name that is not in the list is refused with the names that are."""
    done = _instrument(venv("pymongo==4.9"), "--add", "mongodb")

    assert done.returncode == 2
    assert "nothing there is called mongodb; there are pymongo." in done.stderr


@pytest.mark.parametrize(("program", "reason"), [("/no/python", "No such file"), ("/bin/false", "exit status 1")])
def test_what_is_no_python_is_said_in_one_line(program: str, reason: str) -> None:
    """A Python that is not there or does not answer ends the command in one line."""
    done = _instrument(Path(program))

    assert done.returncode == 1
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1
