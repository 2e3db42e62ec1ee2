"""Who may import whom, and who may read the environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def test_the_rooms_keep_their_directions() -> None:
    """Every import-linter contract is kept."""
    result = subprocess.run([BIN / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("line", ["os.environ['X']", "os.getenv('X')", "from os import environ"])
def test_the_environment_is_read_in_two_files_only(line: str) -> None:
    """Reading the environment elsewhere is an error that names the two files."""
    code = line if line.startswith("from") else f"import os\n\nprint({line})"
    command = [BIN / "ruff", "check", "--select", "TID251", "--stdin-filename", "apm_ui/somewhere.py", "-"]

    result = subprocess.run(command, cwd=ROOT, input=code + "\n", capture_output=True, text=True, check=False)

    assert "TID251" in result.stdout
    assert "spanwise/settings.py" in result.stdout
