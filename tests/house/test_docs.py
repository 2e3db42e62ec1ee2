"""Every setting, command, page, receiver and path is documented, and generated pages are fresh."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from apm_ui.pages import PAGES
from otel_agent.settings import VARIABLES
from spanwise.settings import SETTINGS

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def _reference() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in REFERENCE.glob("*.md"))


def test_every_setting_is_documented() -> None:
    """Each flag and each environment variable stands in the reference."""
    text = _reference()

    assert not [setting.flag for setting in SETTINGS if setting.flag not in text]
    assert not [setting.variable for setting in SETTINGS if setting.variable not in text]
    assert not [variable.name for variable in VARIABLES if variable.name not in text]


def test_every_page_is_documented() -> None:
    """Each page's address stands in the reference."""
    text = _reference()

    assert not [module.PAGE.path for module in PAGES if f"`{module.PAGE.path}`" not in text]


@pytest.mark.parametrize("command", ["up", "run", "env", "demo", "status", "doctor", "instrument"])
def test_every_command_is_documented(command: str) -> None:
    """Each command stands in the reference and in the README."""
    assert f"spanwise {command}" in _reference()
    assert f"spanwise {command}" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["receivers", "processors"])
def test_every_receiver_and_processor_is_documented(kind: str) -> None:
    """Each of the collector's stands in the reference."""
    names = {path.stem for path in (ROOT / "apm_collector" / kind).glob("[a-z]*.py")}

    assert names
    assert not [name for name in names if f"- `{name}`: " not in _reference()]


def test_every_action_of_a_command_is_documented() -> None:
    """`spanwise config` has actions with options of their own."""
    assert "### `spanwise config rollback`" in _reference()


def test_the_generated_reference_is_fresh() -> None:
    """`make docs` would change nothing."""
    command = [sys.executable, ROOT / "docs" / "generate.py", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"])
def test_every_path_that_is_named_exists(name: str) -> None:
    """A file or folder that a document names in backticks is there."""
    text = (ROOT / name).read_text(encoding="utf-8")
    rooms = "otel_agent|apm_collector|apm_store|apm_analysis|apm_ui|spanwise|demo_app|docs|tests|collector-config"
    paths = re.findall(rf"`((?:{rooms})/[\w./-]*)`", text)

    assert paths
    assert not [path for path in paths if not (ROOT / path).exists()]
