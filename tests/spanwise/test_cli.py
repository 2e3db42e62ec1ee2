"""The commands as a shell meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from builders import make_request, make_span
from stack import SPANWISE, Stack, wait_for


def _spanwise(*argv: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SPANWISE, *argv], capture_output=True, text=True, timeout=60, check=False, **more)  # type: ignore[call-overload]


def test_run_without_a_command_says_how_to_write_it() -> None:
    """An empty `spanwise run` is wrong usage, with an example."""
    result = _spanwise("run", "--")

    assert result.returncode == 2
    assert "spanwise run -- python app.py" in result.stderr


def test_run_of_an_unknown_command_ends_like_a_shell() -> None:
    """A command that is not there gives 127 and one line."""
    result = _spanwise("run", "--", "no-such-command")

    assert result.returncode == 127
    assert len(result.stderr.strip().splitlines()) == 1
    assert "no-such-command" in result.stderr


def test_run_hands_on_exit_status_and_output() -> None:
    """The command's own exit status and output come through untouched."""
    result = _spanwise("run", "--", sys.executable, "-c", "print('hello'); raise SystemExit(3)")

    assert result.returncode == 3
    assert result.stdout == "hello\n"


def test_env_prints_what_a_shell_can_evaluate(tmp_path: Path) -> None:
    """`eval "$(spanwise env)"` sets the variables, also where a path has a space and a quote in it."""
    odd = tmp_path / "it's a shop"
    odd.mkdir()
    script = f'cd "$1" && eval "$({SPANWISE} env)" && echo "$OTEL_SERVICE_NAME" && echo "$PYTHONPATH"'

    result = subprocess.run(["sh", "-c", script, "sh", odd], capture_output=True, text=True, check=True)

    name, python_path = result.stdout.splitlines()
    assert name == "it's a shop"
    assert (Path(python_path.split(":")[0]) / "sitecustomize.py").exists()


def test_status_of_nothing_says_how_to_start(tmp_path: Path) -> None:
    """Where nothing runs, the status is 1 and names the command."""
    result = _spanwise("status", "--data", str(tmp_path))

    assert result.returncode == 1
    assert "spanwise up" in result.stdout


def test_status_and_doctor_of_a_running_stack(tmp_path: Path) -> None:
    """Both name the parts and the service that sent a span; status does so as JSON too."""
    with Stack(tmp_path).start() as stack:
        stack.send("traces", make_request([make_span("GET /")], service="corner-shop").SerializeToString())
        wait_for(lambda: stack.api("/api/v1/services")["data"], 5, "the service is known")

        status = json.loads(_spanwise("status", "--data", str(tmp_path), "--json").stdout)
        words = _spanwise("status", "--data", str(tmp_path)).stdout
        doctor = _spanwise("doctor", "--data", str(tmp_path))

    assert (status["collector"]["status"], status["ui"]["status"]) == ("ok", "ok")
    assert status["collector"]["counts"]["traces"]["accepted"] == 1
    assert "corner-shop" in words
    assert doctor.returncode == 0, doctor.stdout
    assert "corner-shop sent its last span" in doctor.stdout
    assert "SQLAlchemy" in doctor.stdout or "sqlalchemy" in doctor.stdout


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
    ],
)
def test_doctor_finds_the_variable_that_keeps_spans_away(tmp_path: Path, variable: str, value: str) -> None:
    """A variable that switches tracing off is a failed check that names it."""
    import os

    result = _spanwise("doctor", "--data", str(tmp_path), env={**os.environ, variable: value})

    assert result.returncode == 1
    assert f"unset {variable}" in result.stdout


def test_doctor_of_a_command_asks_its_python(tmp_path: Path) -> None:
    """After `--` the doctor looks into the Python of that command."""
    result = _spanwise("doctor", "--data", str(tmp_path), "--", sys.executable, "-I", "app.py")

    assert result.returncode == 1
    assert "With python -I the agent is not started" in result.stdout


def test_run_and_env_need_the_base_install_only() -> None:
    """Neither command loads the server's libraries into the interpreter."""
    code = (
        "import sys; from spanwise.cli import main; main(['env']);"
        "heavy = {'dash', 'sqlalchemy', 'grpc', 'yaml', 'uvicorn', 'flask'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
