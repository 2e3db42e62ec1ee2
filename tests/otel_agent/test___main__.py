"""`python -m otel_agent CMD…`."""

import subprocess
import sys


def test_command_runs_instrumented(clean_environment, tmp_path):
    """The command replaces the process and finds the agent's variables and its own arguments."""
    script = (
        "import os, sys; print(os.environ['OTEL_SERVICE_NAME'], 'bootstrap' in os.environ['PYTHONPATH'], sys.argv[1])"
    )
    environment = clean_environment | {"OTEL_SDK_DISABLED": "true"}
    del environment["PYTHONPATH"], environment["OTEL_SERVICE_NAME"]
    (tmp_path / "setup.cfg").write_text("[metadata]\nname = shop\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "otel_agent", sys.executable, "-c", script, "--port"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "shop True --port\n", "")


def test_missing_command_is_one_line_and_127(clean_environment):
    """A command that does not exist ends in one line and exit code 127, as in a shell."""
    done = subprocess.run(
        [sys.executable, "-m", "otel_agent", "no-such-command"],
        env=clean_environment | {"OTEL_SDK_DISABLED": "true"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (127, "")
    assert done.stderr == "otel_agent: there is no command 'no-such-command' on the PATH\n"


def test_no_command_is_a_usage_error(clean_environment):
    """Without a command the usage is printed and the exit code is 2."""
    done = subprocess.run(
        [sys.executable, "-m", "otel_agent"],
        env=clean_environment | {"OTEL_SDK_DISABLED": "true"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
