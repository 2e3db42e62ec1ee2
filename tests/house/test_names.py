"""Names that hide a missing noun, and callbacks that belong to no app, are refused."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("otel_agent", "apm_collector", "apm_store", "apm_analysis", "apm_ui", "spanwise", "demo_app")
BANNED = {"utils.py", "util.py", "helpers.py", "common.py", "base.py", "manager.py", "misc.py"}
CATCH_ALL_FILES = {"otel_agent/guard.py", "apm_ui/page.py"}


def _sources() -> list[Path]:
    return [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]


def test_no_file_is_a_drawer_for_everything() -> None:
    """A function without a home means that its noun is missing."""
    assert not [path for path in _sources() if path.name in BANNED]


def test_no_callback_is_registered_at_import() -> None:
    """A module-level callback goes to the first app of the process only."""
    offenders = []
    for path in (ROOT / "apm_ui").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            decorators = getattr(node, "decorator_list", [])
            offenders += [path.name for item in decorators if "callback" in ast.unparse(item)]

    assert not offenders


def test_only_two_files_catch_everything() -> None:
    """`except Exception` stands in the agent's guard and in the page frame, nowhere else; `BaseException` nowhere."""
    offenders = []
    for path in _sources():
        name = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "everything"
                if caught in {"everything", "BaseException"} or (caught == "Exception" and name not in CATCH_ALL_FILES):
                    offenders.append(f"{name}:{node.lineno} catches {caught}")

    assert not offenders


def test_the_demo_shop_knows_nothing_of_tracing() -> None:
    """The demo is a user's app: no import of ours, none of OpenTelemetry."""
    own = {"otel_agent", "apm_collector", "apm_store", "apm_analysis", "apm_ui", "spanwise", "opentelemetry"}
    imported = set()
    for path in (ROOT / "demo_app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])

    assert not imported & own
