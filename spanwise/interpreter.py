"""The Python behind a command, and what it has installed."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from otel_agent.fallback_finder import normalized

TIMEOUT_S = 30


class InterpreterError(Exception):
    """There is no such Python, or it does not answer; the message says which."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """An interpreter, its version, whether it has pip, and its distributions by normalized name (a_b)."""

    executable: str
    python: tuple[int, ...]
    has_pip: bool
    distributions: dict[str, str]


def interpreter_of(argv: Sequence[str]) -> str:
    """The Python that a command runs in: the command itself, or what its first line names. Raises InterpreterError."""
    program = shutil.which(argv[0])
    if program is None:
        raise InterpreterError(f"There is no command “{argv[0]}” on the PATH.")
    if _is_python(program):
        return program
    with Path(program).open("rb") as file:
        head = file.read(1000).decode("utf-8", "replace").splitlines()
    if head and head[0].startswith("#!"):
        words = shlex.split(head[0][2:])
        if head[0].endswith("/sh") and len(head) > 1:  # pip writes it so where the path is too long or has a space
            words = shlex.split(head[1].replace("'''exec'", ""))
        words = [word for word in words if not word.startswith("-") and Path(word).name != "env"]
        found = shutil.which(words[0]) if words else None
        if found and _is_python(found):
            return found
    raise InterpreterError(f"{program} does not say in which Python it runs. Name that Python instead.")


def take_inventory(python: str, variables: Mapping[str, str]) -> Inventory:
    """Ask an interpreter what it has, the agent aside. Raises InterpreterError."""
    from otel_agent import inventory

    # Neither the current directory nor that of the file is to be searched.
    code = f"import runpy, sys; del sys.path[0]; runpy.run_path({inventory.__file__!r}, run_name='__main__')"
    answer, _ = ask(python, ["-c", code], {**variables, "OTEL_SDK_DISABLED": "true"})
    found = json.loads(answer)
    distributions = {normalized(name): version for name, version in found["distributions"].items()}
    return Inventory(found["executable"], tuple(found["python"]), found["has_pip"], distributions)


def ask(python: str, arguments: Sequence[str], variables: Mapping[str, str]) -> tuple[str, list[str]]:
    """The last line that an interpreter prints, and the lines of its stderr. Raises InterpreterError."""
    try:
        done = subprocess.run(
            [python, *arguments],
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InterpreterError(f"{python} cannot be asked: {error}.") from error
    if done.returncode != 0 or not done.stdout.strip():
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise InterpreterError(f"{python} cannot be asked: {reason}.")
    return done.stdout.strip().splitlines()[-1], done.stderr.splitlines()


def _is_python(program: str) -> bool:
    return Path(program).name.startswith(("python", "pypy"))
