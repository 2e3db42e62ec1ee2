"""What the agent does as soon as the host has imported a library.

wrapt can tell of imports too, but brings asyncio into a process that may never need it: a tenth of the start-up.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

Call = Callable[[ModuleType], None]


def when_imported(library: str, call: Call) -> None:
    """Have `call(library)` made once, before whoever imports the library first goes on, or now if it is there."""
    module = sys.modules.get(library)
    if module is not None:
        call(module)
        return
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    _calls.setdefault(library, []).append(call)


_calls: dict[str, list[Call]] = {}


class _Finder:
    """Stands before all other finders, and finds nothing itself: it hands on what they find, to be told of the load."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _calls:
            return None
        for finder in tuple(sys.meta_path):
            find_spec = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find_spec(fullname, path, target) if find_spec else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = cast("Any", _Loader(spec.loader))
                return spec
        return None


class _Loader:
    """Stands in for the loader of one module until that is loaded."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        for call in _calls.pop(module.__name__, ()):
            call(module)


_FINDER = _Finder()
