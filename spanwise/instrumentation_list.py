"""Which libraries of an environment are traced, by what, and what it lacks for the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from otel_agent.fallback_finder import normalized
from spanwise.interpreter import Inventory

# Packages that give nothing by themselves, or what the agent gives already.
_LEFT_OUT = {"opentelemetry_instrumentation_asgi", "opentelemetry_instrumentation_system_metrics"}
# tortoiseorm lists pydantic, which many have without it.
_NOT_ITS_LIBRARY = {"pydantic"}


@dataclass(frozen=True, slots=True)
class Row:
    """A library of the environment. `state` is traced, missing or unsuitable; `source` is agent, along or app.

    `package` is what pip would be given, "" where the agent does it by itself; `takes` is the range of versions that
    the official package takes, "" for any.
    """

    name: str
    library: str
    version: str
    state: str
    source: str
    package: str
    takes: str


@dataclass(frozen=True, slots=True)
class Instrumentations:
    """What is traced in an environment: whose OpenTelemetry it gets, what is in the way of it, and its libraries."""

    opentelemetry: str
    obstacle: str
    rows: tuple[Row, ...]


def list_instrumentations(inventory: Inventory) -> Instrumentations:
    """Compare an environment with what the agent instruments by itself and what OpenTelemetry has packages for."""
    from otel_agent.companions import Held, held_in, opentelemetry_to_bring, unfit_companion
    from otel_agent.environment import agent_directories

    if inventory.python < (3, 10):
        return Instrumentations("", f"the agent needs Python 3.10, this is {'.'.join(map(str, inventory.python))}", ())
    ours = held_in(agent_directories())
    theirs = {name: Held(version, Path()) for name, version in inventory.distributions.items()}
    brings, obstacle = opentelemetry_to_bring(theirs, ours, inventory.executable)
    obstacle = unfit_companion(theirs, inventory.executable) or obstacle
    source = ours if brings or obstacle else theirs
    version = source["opentelemetry_instrumentation"].version
    there = inventory.distributions | ({name: held.version for name, held in ours.items()} if brings else {})
    rows = tuple(_rows(inventory.distributions, there, version))
    return Instrumentations("agent" if brings else "app", obstacle, rows)


def _rows(theirs: Mapping[str, str], there: Mapping[str, str], version: str) -> Iterator[Row]:
    """`theirs` is what the app has, `there` what it has once the agent is there, both with versions."""
    own = _own_libraries()
    seen = set()
    for library, takes, package in _official_packages():
        installed = theirs.get(normalized(library))
        name = package.removeprefix("opentelemetry_instrumentation_")
        if installed is None or name in seen:
            continue
        seen.add(name)
        if name in own and not _is_used(package):
            yield Row(name, library, installed, "traced", "agent", "", takes)
            continue
        pinned = f"{package.replace('_', '-')}=={version}"
        source = "app" if package in theirs else "along"
        state = "missing" if package not in there else "traced" if _is_within(installed, takes) else "unsuitable"
        yield Row(name, library, installed, state, source if package in there else "", pinned, takes)
    for name, library in own.items():
        installed = theirs.get(normalized(library))
        if installed and name not in seen:
            yield Row(name, library, installed, "traced", "agent", "", "")


def _own_libraries() -> dict[str, str]:
    """The library of each of the agent's own instrumentations, by its name."""
    from otel_agent.instrumentations import INSTRUMENTATIONS

    return {name: library.partition(".")[0] for name, library in INSTRUMENTATIONS.items()}


def _official_packages() -> Iterator[tuple[str, str, str]]:
    """(library, versions it takes, normalized name of the package) of all that OpenTelemetry has packages for."""
    from opentelemetry.instrumentation.bootstrap_gen import libraries
    from packaging.requirements import Requirement

    for entry in libraries:
        library, package = Requirement(entry["library"]), normalized(Requirement(entry["instrumentation"]).name)
        if package not in _LEFT_OUT and library.name not in _NOT_ITS_LIBRARY:
            yield library.name, str(library.specifier), package


def _is_used(package: str) -> bool:
    """Whether the agent's own instrumentation stands on the official package."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _is_within(version: str, takes: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(takes).contains(version, prereleases=True)
