"""The shop is a user's app: it knows nothing of tracing and nothing of our rooms."""

import ast
from pathlib import Path

import pytest

SHOP = Path(__file__).parents[2] / "demo_app"
ALLOWED = {"demo_app", "flask", "requests", "sqlalchemy", "waitress"}
STRANGERS = ("opentelemetry", "otel_agent", "apm_", "spanwise")


def imported(path):
    """The top-level packages that a file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("path", sorted(SHOP.glob("*.py")), ids=lambda path: path.name)
def test_a_file_imports_only_what_a_shop_needs(path):
    """Every import is the standard library's, the shop's own, or one of its four libraries."""
    import sys

    strange = set(imported(path)) - ALLOWED - set(sys.stdlib_module_names)

    assert strange == set()


@pytest.mark.parametrize("path", sorted(SHOP.glob("*.py")), ids=lambda path: path.name)
def test_a_file_does_not_even_mention_us(path):
    """No line of the shop's code names OpenTelemetry or one of our rooms."""
    source = path.read_text().lower()

    assert [name for name in STRANGERS if name in source] == []
