"""`spanwise doctor -- CMD` on real interpreters: what keeps one command from being traced."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanwise.agent_variables import agent_variables
from spanwise.check import Check
from spanwise.doctor_app import check_command

OURS = sysconfig.get_paths()["purelib"]
STEERING = ("OTEL_", "PYTHON", "SPANWISE_")


def _check(receiver: Any, *argv: object, **variables: str) -> list[Check]:
    """Every check on a command, as `spanwise doctor` makes them."""
    words = [str(word) for word in argv]
    base = {name: value for name, value in os.environ.items() if not name.startswith(STEERING)} | variables
    return list(check_command(words, base | agent_variables(receiver.settings.data_dir, words, base)))


def _bad(checks: list[Check]) -> list[tuple[str, str]]:
    return [(check.finding, check.cure) for check in checks if check.state != "ok"]


def test_working_app_has_nothing_wrong(receiver: Any, venv: Callable[..., Path]) -> None:
    """An environment in which nothing is installed is fine, and an export from there is tried."""
    checks = _check(receiver, venv("flask==3.1.0"), "app.py")

    assert _bad(checks) == []
    assert "flask 3.1.0 is traced." in [check.finding for check in checks]
    assert checks[-1].finding == f"An export from there is taken by http://127.0.0.1:{receiver.http_port}/v1/traces."


def test_library_imported_too_early_is_named(receiver: Any, venv: Callable[..., Path], tmp_path: Path) -> None:
    """A .pth file that imports a library before the agent has the untraced class; its module is named."""
    python = venv()
    (site_packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site_packages / "plugin.py").write_text("from flask import Flask", encoding="utf-8")
    (site_packages / "zz.pth").write_text(f"{OURS}\nimport plugin\n", encoding="utf-8")

    ((finding, cure),) = _bad(_check(receiver, python, "app.py"))

    assert finding.startswith("flask.Flask by plugin was imported before the agent started")
    assert ".pth" in cure


def test_other_distro_is_named(receiver: Any, venv: Callable[..., Path], tmp_path: Path) -> None:
    """Another OpenTelemetry distro in the app's environment may take over where opentelemetry-instrument is used."""
    python = venv("other-distro==1.0")
    (metadata,) = (tmp_path / "venv").glob("lib/python*/site-packages/other_distro-1.0.dist-info")
    (metadata / "entry_points.txt").write_text("[opentelemetry_distro]\nother = other:Distro\n", encoding="utf-8")

    assert "distro is installed there: other." in _bad(_check(receiver, python, "app.py"))[0][0]


def test_conflict_is_said_once_with_its_cure(receiver: Any, venv: Callable[..., Path]) -> None:
    """A package that the agent cannot work with fails the check and names the command that helps."""
    python = venv("protobuf==4.25.8")

    finding, cure = _bad(_check(receiver, python, "app.py"))[0]

    assert finding == f"Nothing is recorded in {python}: the app has protobuf 4.25.8 and the agent needs another."
    assert cure == f"{python} -m pip install 'protobuf>=5,<8'"


@pytest.mark.parametrize("options", [["-I"], ["-u", "-E"], ["-W", "error", "-S"], ["-uI"]])
def test_options_that_keep_the_agent_out_are_found(receiver: Any, options: list[str]) -> None:
    """Python started so ignores what `spanwise run` sets."""
    finding, _ = _bad(_check(receiver, sys.executable, *options, "-c", "pass"))[0]

    assert finding.startswith(f"With python -{options[-1][-1]} the agent is not started")


def test_options_after_the_script_are_the_apps(receiver: Any) -> None:
    """What stands behind the script or module is none of the interpreter's business."""
    assert _bad(_check(receiver, sys.executable, "-u", "-m", "shop", "-I")) == []


def test_script_is_asked_in_its_own_python(receiver: Any, venv: Callable[..., Path], tmp_path: Path) -> None:
    """A console script runs in the Python of its first line, options and all."""
    script = tmp_path / "serve"
    script.write_text(f"#!{venv('flask==2.0')} -I\n", encoding="utf-8")
    script.chmod(0o755)

    checks = _check(receiver, script, "--port", "1")

    assert "With python -I" in checks[0].finding
    assert "flask 2.0 is traced." in [check.finding for check in checks]


def test_command_without_a_python_is_said(receiver: Any) -> None:
    """A command that does not tell its Python cannot be asked; the way out is named."""
    ((finding, cure),) = _bad(_check(receiver, "/bin/cat"))

    assert "does not say in which Python it runs" in finding
    assert cure == "spanwise doctor -- /the/apps/bin/python"


@pytest.mark.parametrize(
    ("options", "ini", "found"),
    [
        ("--http :8080", "", ["enable-threads"]),
        ("--enable-threads -p 4", "", ["lazy-apps"]),
        ("--threads 2 --processes=4 --lazy-apps", "", []),
        ("--ini app.ini", "[uwsgi]\nenable-threads = true\nprocesses = 4\nlazy-apps = true\n", []),
        ("app.ini", "[uwsgi]\nenable-threads = false\nworkers = 2\n", ["enable-threads", "lazy-apps"]),
    ],
)
def test_uwsgi_needs_threads_and_lazy_apps(
    receiver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, ini: str, found: list[str]
) -> None:
    """A uWSGI without threads sends nothing, and forks unseen; both options may stand in its ini file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.ini").write_text(ini, encoding="utf-8")

    cures = [cure for finding, cure in _bad(_check(receiver, "uwsgi", *options.split())) if "uWSGI" in finding]

    assert [cure.split()[1].strip("-") for cure in cures] == found


@pytest.mark.parametrize(
    ("status", "words"), [(401, "asks for a token"), (404, "answers 404"), (302, "the collector redirects")]
)
def test_answer_that_is_no_receipt_is_a_failure(receiver: Any, status: int, words: str) -> None:
    """An export is tried from within; whatever is not a receipt is told."""
    receiver.status = status

    ((finding, _),) = _bad(_check(receiver, sys.executable, "-c", "pass"))

    assert words in finding


def test_grpc_behind_an_http_address_is_recognized(receiver: Any) -> None:
    """HTTP sent to the port for gRPC gets no HTTP back: the cure speaks of the ports."""
    endpoint = f"http://127.0.0.1:{receiver.grpc_port}"

    ((_, cure),) = _bad(_check(receiver, sys.executable, "-c", "pass", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint))

    assert "gRPC has 4317" in cure


def test_what_the_agent_says_there_is_passed_on(receiver: Any) -> None:
    """A warning line of the agent in the app's process is one of the doctor's findings."""
    ((finding, _),) = _bad(_check(receiver, sys.executable, "-c", "pass", OTEL_BSP_SCHEDULE_DELAY="soon"))

    assert "OTEL_BSP_SCHEDULE_DELAY='soon' does not work" in finding
