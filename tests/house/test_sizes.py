"""Functions stay within 60 lines and files within 400 (SQL and tests may be longer)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("otel_agent", "apm_collector", "apm_store", "apm_analysis", "apm_ui", "spanwise", "demo_app")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
SCRIPTS = sorted((ROOT / "apm_ui" / "assets").glob("*.js"))
MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400


def test_there_are_sources() -> None:
    """The sources that the other tests look at are found."""
    assert len(SOURCES) > 40


@pytest.mark.parametrize("path", SOURCES + SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_has_at_most_400_lines(path: Path) -> None:
    """A file that grows beyond 400 lines wants to be two."""
    lines = len(path.read_text(encoding="utf-8").splitlines())

    assert lines <= MAX_FILE_LINES


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_function_has_at_most_60_lines(path: Path) -> None:
    """A function that grows beyond 60 lines wants to be several."""
    tree = ast.parse(path.read_text(encoding="utf-8"))

    too_long = {
        node.name: (node.end_lineno or node.lineno) - node.lineno + 1
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > MAX_FUNCTION_LINES
    }
    assert not too_long


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is(path: Path) -> None:
    """Every module but an empty package file has a docstring."""
    text = path.read_text(encoding="utf-8")

    assert not text.strip() or ast.get_docstring(ast.parse(text))
