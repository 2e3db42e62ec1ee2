"""Runs a file command in this process, on a data directory of the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spanwise.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a command did: its exit status, and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def spanwise(data_dir: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run a command line such as `import file.json`; `--data` is added."""

    def run(*argv: Any, data: Path = data_dir) -> Outcome:
        capfd.readouterr()
        status = main([*(str(one) for one in argv), "--data", str(data)])
        out, err = capfd.readouterr()
        return Outcome(status, out, err)

    return run
