"""The last finder of an app's interpreter: it finds the modules and metadata that the agent brings along, no others."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import Distribution, DistributionFinder

# Packages that several distributions share. The app's part of them may appear on sys.path later on.
_SHARED = {"google", "opentelemetry"}


def normalized(name: str) -> str:
    """Return the one spelling of a distribution's name: opentelemetry_api."""
    return re.sub(r"[-_.]+", "_", name).lower()


class FallbackFinder:
    """Finds `modules` in `directories`, and `metadata` (its directory, by normalized name of the distribution).

    It is asked only for what nobody before it has found, so it hides nothing.
    """

    def __init__(self, directories: Sequence[str], modules: set[str], metadata: Mapping[str, Path]) -> None:
        self._directories = directories
        self._modules = modules
        self._metadata = metadata
        self._has_shared = _SHARED & {module.partition(".")[0] for module in modules}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Give the spec of a module that comes along, None for any other."""
        if fullname in self._has_shared:
            return ModuleSpec(fullname, None, is_package=True)  # empty: all below it is asked for here
        above, _, _ = fullname.rpartition(".")
        if above in self._has_shared and not path:
            added_later = PathFinder.find_spec(above)
            if added_later and added_later.submodule_search_locations:
                found = PathFinder.find_spec(fullname, list(added_later.submodule_search_locations), target)
                if found:
                    return found
        is_opentelemetry = fullname.startswith("opentelemetry.") and "opentelemetry" in self._modules
        if fullname not in self._modules and not is_opentelemetry:
            return None
        places = [str(Path(directory, *above.split(".")) if above else directory) for directory in self._directories]
        return PathFinder.find_spec(fullname, places, target)

    def find_distributions(self, context: "DistributionFinder.Context | None" = None) -> "Iterator[Distribution]":
        """Give the metadata that come along; none to those who ask about particular directories, as pip does."""
        from importlib.metadata import Distribution

        asked = vars(context) if context else {}
        if "path" in asked and asked["path"] is not sys.path:
            return
        name = asked.get("name")
        wanted = [normalized(name)] if name else list(self._metadata)
        for item in wanted:
            if item in self._metadata:
                yield Distribution.at(self._metadata[item])
