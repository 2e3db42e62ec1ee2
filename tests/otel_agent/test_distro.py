"""The doors of the standard opentelemetry-instrument command."""

import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

HOST = "from sqlalchemy import create_engine, text\ncreate_engine('sqlite://').connect().execute(text('SELECT 1'))"


def test_opentelemetry_instrument_loads_the_distro(sink, clean_environment):
    """Under opentelemetry-instrument our distro instruments what ours instruments, SQLAlchemy 2.1 included, once."""
    command = shutil.which("opentelemetry-instrument", path=str(Path(sys.executable).parent))
    if command is None or not entry_points(group="opentelemetry_distro", name="spanwise"):
        pytest.skip("spanwise is not installed, so its entry points do not exist")
    environment = clean_environment | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
        "OTEL_PYTHON_DISTRO": "spanwise",
        "OTEL_PYTHON_CONFIGURATOR": "spanwise",
    }
    del environment["PYTHONPATH"]

    done = subprocess.run(
        [command, sys.executable, "-c", HOST], env=environment, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert sink.span_names() == ["SELECT"]
