"""Starts the agent in every Python process that has this directory on its PYTHONPATH.

It stands on its own, because it also meets interpreters in which the agent is not installed, and Pythons too old for
the agent or even for this syntax: it is written for all of them, Python 2 included.
"""

# ruff: noqa: PTH100, PTH120, UP031, UP036 - Python 2 has neither pathlib nor f-strings

import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
_home = os.path.dirname(os.path.dirname(_here))


def _say(text):  # type: (str) -> None
    if sys.stderr is not None:
        sys.stderr.write("spanwise: " + text + ", so nothing is recorded here\n")


def _start_agent():  # type: () -> None
    """Import the agent, the environment's own if it has one, else the one that this file belongs to, and boot it."""
    if sys.version_info < (3, 10):
        _say("the agent needs Python 3.10 and this is %d.%d" % sys.version_info[:2])
        return
    from importlib.machinery import PathFinder
    from importlib.util import find_spec, module_from_spec

    if find_spec("otel_agent") is None:
        spec = PathFinder.find_spec("otel_agent", [_home])
        if spec is None or spec.loader is None:
            return
        sys.modules["otel_agent"] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["otel_agent"])
    try:
        from otel_agent.boot import boot_when_used
    except ModuleNotFoundError:
        _say("the app has a package otel_agent of its own")
        return
    boot_when_used()


def _run_hidden_sitecustomize():  # type: () -> None
    """Run the environment's own sitecustomize, which this one hides, as it would run without us."""
    paths = [path for path in sys.path if os.path.abspath(path) != _here]
    if sys.version_info < (3, 4):
        import imp

        try:
            found = imp.find_module("sitecustomize", paths)
        except ImportError:
            return
        imp.load_module("sitecustomize", *found)
        return
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec("sitecustomize", paths)
    if spec and spec.loader:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


_start_agent()
_run_hidden_sitecustomize()
