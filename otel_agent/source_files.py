"""Tells the host's own source files from those of the standard library, of installed packages and of the agent."""

import os
import sysconfig
from types import CodeType, FrameType
from typing import Any

import opentelemetry

# Templates and notebooks make file names up as they go; beyond this many the answers are asked for anew.
_MAX_KNOWN = 20_000
# A span is made a few dozen calls below the host's code; a stack without any host code is not searched to its end.
_MAX_DEPTH = 150
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

_known: dict[str, bool] = {}


def _foreign_folders() -> tuple[str, ...]:
    """Return the folders, each with a separator at its end, that hold no code of the host."""
    paths = sysconfig.get_paths()
    folders = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders.add(os.path.dirname(os.__file__))  # noqa: PTH120 - in a venv the library is that of the base interpreter
    folders.add(os.path.dirname(__file__))  # noqa: PTH120
    # Where the agent's own libraries lie, if they were brought along beside the host's packages.
    folders |= {os.path.dirname(path) for path in opentelemetry.__path__}  # noqa: PTH120
    return tuple(os.path.join(os.path.realpath(folder), "") for folder in folders)  # noqa: PTH118


_FOREIGN = _foreign_folders()
_SCRIPTS = os.path.join(os.path.realpath(sysconfig.get_path("scripts")), "")  # noqa: PTH118


def is_host_file(file_name: str) -> bool:
    """Tell whether `file_name`, as code objects carry it, is the host's own source; remembers its answers."""
    answer = _known.get(file_name)
    if answer is None:
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        answer = _known[file_name] = _is_host_file(file_name)
    return answer


def _is_host_file(file_name: str) -> bool:
    if not file_name or file_name.startswith("<"):  # built or typed in, not a file
        return False
    if _is_foreign(file_name):  # for most, which spares a look at the disk
        return False
    path = os.path.realpath(file_name)
    if _is_foreign(path):
        return False
    # The launchers that pip writes (bin/gunicorn) have no suffix; a program of the host's own there has one.
    return not (path.startswith(_SCRIPTS) and not path.endswith(".py"))


def _is_foreign(path: str) -> bool:
    return path.startswith(_FOREIGN) or any(folder in path for folder in _INSTALLED)


def host_frame(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame of the host's own code, looking outward from `frame`; None if there is none.

    A coroutine that is running has those that wait for it above it, so this holds for asynchronous code too.
    """
    known = _known
    for _ in range(_MAX_DEPTH):
        if frame is None:
            return None
        file_name = frame.f_code.co_filename
        answer = known.get(file_name)
        if answer or (answer is None and is_host_file(file_name)):
            return frame
        frame = frame.f_back
    return None


def function_name(code: CodeType, namespace: dict[str, Any]) -> str:
    """Return module and name of a function: "shop.views.Basket.total", before Python 3.11 without the class."""
    name: str = getattr(code, "co_qualname", code.co_name)
    module = namespace.get("__name__")
    return f"{module}.{name}" if type(module) is str else name


def code_attributes(frame: FrameType) -> dict[str, str | int]:
    """Return file, line and function of a frame as the semantic conventions name them."""
    return {
        "code.file.path": frame.f_code.co_filename,
        "code.line.number": frame.f_lineno or 0,
        "code.function.name": function_name(frame.f_code, frame.f_globals),
    }
