"""`spanwise instrument`: what is traced in an app's environment, and how to add what it lacks."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict

from otel_agent.fallback_finder import normalized
from spanwise.instrumentation_list import Instrumentations, Row, list_instrumentations
from spanwise.interpreter import InterpreterError, Inventory, take_inventory
from spanwise.settings import environment

_SOURCES = {"agent": "by the agent itself", "along": "comes along", "app": "installed there"}


def add_instrument_arguments(command: argparse.ArgumentParser) -> None:
    """Give `spanwise instrument` its flags."""
    what = command.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="list what is traced, and by what; the default")
    what.add_argument(
        "--add",
        nargs="*",
        metavar="NAME",
        help="install what is missing for these libraries, or for all, with pip of that Python",
    )
    command.add_argument("--python", metavar="PATH", help="the app's Python; default: python on the PATH")
    command.add_argument("--json", action="store_true", help="print one JSON object")


def instrument(args: argparse.Namespace) -> int:
    """Run the command; give its exit status: 0 done, 1 failed with one line on stderr, 2 wrong usage."""
    python = args.python or shutil.which("python") or sys.executable
    try:
        inventory = take_inventory(python, environment())
    except InterpreterError as error:
        print(f"spanwise: {error}", file=sys.stderr)
        return 1
    found = list_instrumentations(inventory)
    if args.add is not None:
        return _add(inventory, found, args.add)
    if args.json:
        print(json.dumps({"python": inventory.executable, **asdict(found)}))
    else:
        _print_list(inventory, found)
    return 0


def _print_list(inventory: Inventory, found: Instrumentations) -> None:
    print(f"{inventory.executable}, Python {'.'.join(map(str, inventory.python))}")
    if found.obstacle:
        print(f"✗ Nothing is recorded there: {found.obstacle}")
    widths = [max([0, *(len(text) for text in column)]) for column in zip(*map(_texts, found.rows), strict=True)]
    for row in found.rows:
        print("  ".join(text.ljust(width) for text, width in zip(_texts(row), widths, strict=True)).rstrip())
    missing = [row.name for row in found.rows if row.state == "missing"]
    if missing:
        print(f"\nTo trace {', '.join(missing)} too: spanwise instrument --add --python {inventory.executable}")


def _texts(row: Row) -> tuple[str, str, str, str]:
    """A row as four texts: name, library with version, state, and how that comes."""
    library = f"{row.library} {row.version}"
    if row.state == "missing":
        return row.name, library, "missing", row.package
    if row.state == "unsuitable":
        return row.name, library, "not traced", f"{row.package} takes {row.library} {row.takes} only"
    return row.name, library, "traced", f"{_SOURCES[row.source]} {row.package}".strip()


def _add(inventory: Inventory, found: Instrumentations, names: Sequence[str]) -> int:
    """Install what is missing for `names`, or for everything; show the command first."""
    rows = {normalized(row.name): row for row in found.rows}
    unknown = [name for name in names if normalized(name) not in rows]
    if unknown:
        print(f"spanwise: nothing there is called {', '.join(unknown)}; there are {', '.join(rows)}.", file=sys.stderr)
        return 2
    wanted = [rows[normalized(name)] for name in names] or list(found.rows)
    packages = [row.package for row in wanted if row.state == "missing"]
    if found.obstacle:
        print(f"spanwise: nothing is recorded there: {found.obstacle}", file=sys.stderr)
        return 1
    if not packages:
        print("Nothing is missing.")
        return 0
    if not inventory.has_pip:
        print(
            f"spanwise: {inventory.executable} has no pip. Install there by your own tool: {' '.join(packages)}",
            file=sys.stderr,
        )
        return 1
    command = [inventory.executable, "-m", "pip", "install", *packages]
    print(shlex.join(command), flush=True)
    # Without the agent: pip is not to be traced, and sees what is really installed.
    return subprocess.run(command, env={**environment(), "OTEL_SDK_DISABLED": "true"}, check=False).returncode
