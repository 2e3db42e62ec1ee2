"""The agent beside other versions than its own: of Python, and of the OpenTelemetry that libraries bring with them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from otel_agent.environment import agent_environment

ASGI = """
import opentelemetry.instrumentation.asgi, sqlite3, sys
sqlite3.connect(":memory:").execute("SELECT 1").connection.close()
print(sys.version_info[:2])
"""


@pytest.fixture
def python310():
    """Return a Python 3.10, the oldest that the agent runs in."""
    places = sorted(Path.home().glob(".pyenv/versions/3.10.*/bin/python"))
    found = next((str(path) for path in places), None) or shutil.which("python3.10")
    if found is None:
        pytest.skip("there is no Python 3.10 on this machine")
    return found


@pytest.fixture
def make_venv(tmp_path):
    """Return a function that makes an environment of that Python, empty but for what is copied into it by name."""

    def make(python):
        subprocess.run([python, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
        return tmp_path / "venv" / "bin" / "python"

    return make


def run(python, script, endpoint, environment):
    """Run a script in an environment without the agent, under it; return what it printed on stdout and stderr."""
    base = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", script],
        env=base | agent_environment("host", endpoint, base),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout, done.stderr


def test_asgi_is_traced_on_the_oldest_python(sink, make_venv, python310, clean_environment):
    """What ASGI frameworks need comes along to Python 3.10, though the newest asgiref asks for a newer one."""
    out, err = run(make_venv(python310), ASGI, sink.url, clean_environment)

    assert (out, err) == ("(3, 10)\n", "")
    assert sink.span_names() == ["SELECT"]


def test_library_that_brings_the_api_is_no_obstacle(sink, make_venv, python310, clean_environment, tmp_path):
    """An opentelemetry-api of the same series, which some frameworks depend on, is used with the agent's SDK."""
    import opentelemetry.trace

    python = make_venv(python310)
    (site_packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    ours = Path(opentelemetry.trace.__file__).parents[2]
    (metadata,) = ours.glob("opentelemetry_api-*.dist-info")
    series = metadata.name.partition("-")[2].rsplit(".", 2)[0]
    shutil.copytree(metadata, site_packages / f"opentelemetry_api-{series}.999.dist-info")
    for line in (metadata / "RECORD").read_text("utf-8").splitlines():
        path = line.partition(",")[0]
        if path.startswith("opentelemetry") and ".dist-info" not in path and path.endswith(".py"):
            (site_packages / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ours / path, site_packages / path)

    out, err = run(python, ASGI + "print(opentelemetry.trace.__file__)", sink.url, clean_environment)

    assert (out.splitlines()[1].startswith(str(tmp_path) + os.sep), err) == (True, "")
    assert sink.span_names() == ["SELECT"]
