"""Starts the agent in every Python process that has this directory on its PYTHONPATH.

It stands on its own, because it also meets interpreters in which the agent is not installed.
"""

import sys
from contextlib import suppress
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

with suppress(ModuleNotFoundError):
    from otel_agent.boot import boot

    boot()

# The environment's own sitecustomize, which this one hides, runs as it would without us.
_here = Path(__file__).resolve().parent
_spec = PathFinder.find_spec("sitecustomize", [path for path in sys.path if Path(path).resolve() != _here])
if _spec and _spec.loader:
    _module = module_from_spec(_spec)
    sys.modules["sitecustomize"] = _module
    _spec.loader.exec_module(_module)
