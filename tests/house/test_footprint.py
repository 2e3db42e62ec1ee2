"""What the processes of the stack must not load, for each keeps what it has loaded as long as it runs."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

from spanwise.version import VERSION

SUPERVISOR = "import spanwise.cli, spanwise.run, spanwise.demo; spanwise.cli.build_parser()"
COLLECTOR = "import spanwise.part, apm_collector.collector, apm_collector.live_config, apm_store.sqlite.writer"
UI = "import spanwise.part, spanwise.run, apm_ui.app, apm_ui.server, apm_store.sqlite.store"


@pytest.mark.parametrize(
    ("imports", "unwanted"),
    [
        (SUPERVISOR, {"apm_collector", "apm_store", "google", "yaml", "psutil", "ssl", "hashlib", "email", "asyncio"}),
        (
            COLLECTOR,
            {"sqlalchemy", "apm_ui", "dash", "flask", "importlib.metadata", "email", "apm_collector.exporters.otlp"},
        ),
        (UI, {"apm_collector", "grpc", "uvicorn", "psutil"}),
    ],
    ids=["supervisor", "collector", "ui"],
)
def test_a_process_loads_only_what_it_needs(imports: str, unwanted: set[str]) -> None:
    """Each of these costs memory for good, and none is needed before somebody asks for it."""
    code = f"import sys; {imports}; print(*sys.modules, sep='\\n')"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not unwanted & set(loaded)


def test_the_version_is_that_of_the_package() -> None:
    """The processes tell it without reading the package's metadata."""
    assert version("spanwise") == VERSION
