"""Which Python a command runs in, and what it has."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spanwise.interpreter import InterpreterError, interpreter_of, take_inventory


def test_python_is_its_own_interpreter() -> None:
    """A path to Python and a Python on the PATH are what they are."""
    assert interpreter_of([sys.executable, "app.py"]) == sys.executable
    assert interpreter_of(["python3"]) == shutil.which("python3")


@pytest.mark.parametrize(
    "head",
    [
        "#!{python}",
        "#!{python} -sE",
        "#!/usr/bin/env python3",
        "#!/usr/bin/env -S python3 -u",
        "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''",
    ],
)
def test_script_names_its_interpreter(tmp_path: Path, head: str) -> None:
    """The first line of a script, also as pip writes it for a path with a space, names its Python."""
    script = tmp_path / "serve"
    script.write_text(head.format(python=sys.executable) + "\npass\n", encoding="utf-8")
    script.chmod(0o755)

    assert interpreter_of([str(script)]) in {sys.executable, shutil.which("python3")}


@pytest.mark.parametrize(("command", "reason"), [("no-such-command", "no command"), ("/bin/cat", "does not say")])
def test_command_without_a_python_is_refused(command: str, reason: str) -> None:
    """What is not there, and what is no Python script, is said."""
    with pytest.raises(InterpreterError, match=reason):
        interpreter_of([command])


def test_inventory_is_that_of_the_environment(venv: Callable[..., Path]) -> None:
    """Distributions by normalized name, without what the agent would bring along."""
    python = venv("Typed.Thing-x==1.0")

    inventory = take_inventory(str(python), os.environ)

    assert inventory.distributions == {"typed_thing_x": "1.0"}
    assert (inventory.executable, inventory.python, inventory.has_pip) == (str(python), sys.version_info[:3], False)
