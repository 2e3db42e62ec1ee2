"""What the agent does when the host is about to import a module and as soon as it has, and what it imports itself.

wrapt can tell of imports too, but brings asyncio into a process that may never need it: a tenth of the start-up.
"""

import sys
from _thread import get_ident
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, cast

Call = Callable[[ModuleType], None]
Look = Callable[[str], None]


def when_imported(library: str, call: Call) -> None:
    """Have `call(library)` made once, before whoever imports the library first goes on, or now if it is there."""
    module = sys.modules.get(library)
    if module is not None:
        call(module)
        return
    _stand_first()
    _calls.setdefault(library, []).append(call)


def before_imports(look: Look) -> None:
    """Have `look(name)` called before each module that is not there yet is looked for; it may import that module."""
    _stand_first()
    _looks.append(look)


def stop_looking(look: Look) -> None:
    """Have it called no more."""
    if look in _looks:
        _looks.remove(look)


@contextmanager
def importing_from(paths: Sequence[str]) -> Iterator[None]:
    """Find what this thread imports meanwhile on `paths`, not among what the host has put on `sys.path` since.

    A module beside a script may have the name of one that the agent means.
    """
    _stand_first()
    thread_id = get_ident()
    outer = _paths.get(thread_id)
    _paths[thread_id] = paths
    try:
        yield
    finally:
        del _paths[thread_id]
        if outer is not None:
            _paths[thread_id] = outer


_calls: dict[str, list[Call]] = {}
_looks: list[Look] = []
_paths: dict[int, Sequence[str]] = {}  # by the id of the thread


class _Finder:
    """Stands before all other finders and finds nothing itself: it hands on what they find, to be told of the load."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if _looks and fullname not in sys.modules:
            for look in tuple(_looks):
                look(fullname)
            module = sys.modules.get(fullname)
            if module is not None and module.__spec__ is not None:
                module.__spec__ = _Loaded(module, module.__spec__).spec()  # importlib prefers it to what is returned
                return module.__spec__
        paths = _paths.get(get_ident()) if path is None else None
        if fullname not in _calls and paths is None:
            return None
        spec = self._ask_others(fullname, path, paths, target)
        if spec is None and paths is not None:  # the finders that would be asked next know the host's paths
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        if spec is not None and fullname in _calls and hasattr(spec.loader, "exec_module"):
            spec.loader = cast("Any", _Loader(spec.loader))
        return spec

    def _ask_others(
        self, fullname: str, path: Sequence[str] | None, paths: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in tuple(sys.meta_path):
            find_spec = None if finder is self else getattr(finder, "find_spec", None)
            places = path if paths is None or finder is not PathFinder else paths
            spec: ModuleSpec | None = find_spec(fullname, places, target) if find_spec else None
            if spec is not None:
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


class _Loaded(_Loader):
    """Gives a module that was loaded while it was looked for: loading it again would make a second one of it."""

    def __init__(self, module: ModuleType, own: ModuleSpec) -> None:
        super().__init__(own.loader)
        self._module, self._own = module, own

    def spec(self) -> ModuleSpec:
        own, places = self._own, self._own.submodule_search_locations
        spec = ModuleSpec(own.name, cast("Any", self), origin=own.origin, is_package=places is not None)
        spec.submodule_search_locations = places
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:  # noqa: ARG002 - the name of the protocol
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._own


_FINDER = _Finder()


def _stand_first() -> None:
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
