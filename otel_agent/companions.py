"""What the agent needs around it, and how it comes along where an app's environment lacks it (ADR 014).

Whatever the app has wins. Where the app's and the agent's cannot work together the agent stays away and says why.
"""

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from otel_agent.fallback_finder import FallbackFinder, normalized


@dataclass(frozen=True)
class Companion:
    """A distribution that the agent needs: what is imported of it, and the versions that do (from, below).

    With `is_for_any_python` that part runs on Pythons that are too old for the whole by its metadata.
    """

    distribution: str
    modules: tuple[str, ...]
    at_least: tuple[int, ...]
    below: tuple[int, ...]
    is_for_any_python: bool = False


@dataclass(frozen=True)
class Held:
    """A distribution that is found in a directory: its version and the directory of its metadata."""

    version: str
    metadata: Path


_NO_BOUND = (10**6,)

COMPANIONS = (
    Companion("asgiref", ("asgiref",), (3,), (4,), is_for_any_python=True),
    Companion("packaging", ("packaging",), (21,), _NO_BOUND),
    Companion("protobuf", ("google.protobuf", "google._upb"), (5,), (8,)),
    Companion("psutil", ("psutil",), (5,), _NO_BOUND),  # with whatever it cannot do, a metric is left out
    Companion("typing_extensions", ("typing_extensions",), (4, 5), _NO_BOUND),
    Companion("wrapt", ("wrapt",), (1, 12, 1), (3,)),
)

# An OpenTelemetry that the app has does only when all of this is there; its packages come in two series of versions.
_OPENTELEMETRY_CORE = (
    Companion("opentelemetry_api", ("opentelemetry.trace",), (1, 45, 1), (2,)),
    Companion("opentelemetry_sdk", ("opentelemetry.sdk.trace",), (1, 45, 1), (2,)),
    Companion("opentelemetry_exporter_otlp_proto_http", ("opentelemetry.exporter.otlp.proto.http",), (1, 45, 1), (2,)),
    Companion("opentelemetry_semantic_conventions", ("opentelemetry.semconv",), (0, 66), (0, 80)),
    Companion("opentelemetry_instrumentation", ("opentelemetry.instrumentation",), (0, 66), (0, 80)),
)
# These need grpc, which does not come along.
_STAYS_AT_HOME = {"opentelemetry_exporter_otlp", "opentelemetry_exporter_otlp_proto_grpc"}

_METADATA_NAME = re.compile(r"(?P<name>.+?)-(?P<version>\d[^-]*)(-py[\d.]+)?\.(dist|egg)-info")


def bring_along(directories: Sequence[str], own_directories: Iterable[Path]) -> str:
    """Make importable, from `directories` and after everything else, what this environment lacks for the agent.

    `own_directories` are those which the app puts before all others later on. The answer is "", or why the agent
    cannot work here and what to do about it.
    """
    obstacle = _module_in_the_way(own_directories, directories)
    if obstacle or set(directories) <= set(sys.path):
        return obstacle
    theirs, ours = held_in(sys.path), held_in(directories)
    brings_opentelemetry, obstacle = opentelemetry_to_bring(theirs, ours, sys.executable)
    obstacle = unfit_companion(theirs, sys.executable) or obstacle
    if "opentelemetry_api" not in theirs and _found("opentelemetry.trace"):
        obstacle = "the app has an OpenTelemetry whose version cannot be told"
    if not obstacle:
        sys.meta_path.append(_finder(directories, theirs, ours, brings_opentelemetry))
    return obstacle


def _finder(
    directories: Sequence[str], theirs: Mapping[str, Held], ours: Mapping[str, Held], brings_opentelemetry: bool
) -> FallbackFinder:
    missing = [item for item in COMPANIONS if not _has(item, theirs) and _runs_here(item, ours)]
    names = {item.distribution for item in missing} | {"spanwise"}
    modules = {module for item in missing for module in item.modules}
    if brings_opentelemetry:
        names |= {name for name in ours if name.startswith("opentelemetry_")} - _STAYS_AT_HOME
        modules.add("opentelemetry")
    return FallbackFinder(
        directories, modules, {name: ours[name].metadata for name in (names & ours.keys()) - theirs.keys()}
    )


def held_in(directories: Iterable[str]) -> dict[str, Held]:
    """The distributions whose metadata lie in directories, by normalized name; the first one found counts."""
    held: dict[str, Held] = {}
    for directory in directories:
        try:
            entries = sorted(path.name for path in Path(directory).iterdir())
        except OSError:
            continue
        for entry in entries:
            match = _METADATA_NAME.fullmatch(entry)
            if match:
                held.setdefault(normalized(match["name"]), Held(match["version"], Path(directory, entry)))
    return held


def own_directories(argv: Sequence[str], here: Path) -> list[Path]:
    """The directories from which a Python command line imports before all others: the script's and the current one.

    Console scripts of servers put the current directory there themselves.
    """
    # Path.is_file raises for the program text of `python -c`, which is too long for a name.
    script = next((Path(word) for word in argv if os.path.isfile(word)), None)  # noqa: PTH113
    return [script.resolve().parent, here] if script else [here]


def unfit_companion(theirs: Mapping[str, Held], python: str) -> str:
    """Name the first distribution of an app that the agent cannot work with and the cure for it; "" if there is none.

    `theirs` is what the app has, by normalized name, and `python` its interpreter.
    """
    for item in COMPANIONS:
        held = theirs.get(item.distribution)
        if held and not _does(item, held):
            name, least = item.distribution.replace("_", "-"), ".".join(map(str, item.at_least))
            bound = "" if item.below is _NO_BOUND else ",<" + ".".join(map(str, item.below))
            cure = _pip_install(python, [f"{name}>={least}{bound}"])
            return f"the app has {name} {held.version} and the agent needs another; cure: {cure}"
    return ""


def opentelemetry_to_bring(theirs: Mapping[str, Held], ours: Mapping[str, Held], python: str) -> tuple[bool, str]:
    """Decide whose OpenTelemetry is used: (whether ours comes along, why neither can be used or "")."""
    held = {name: item for name, item in theirs.items() if name.startswith("opentelemetry_")}
    other = {
        name: item.version
        for name, item in held.items()
        if name in ours and _numbers(item.version)[:2] != _numbers(ours[name].version)[:2]
    }
    if not other:
        return True, ""  # ours adds to it what it lacks
    if all(core.distribution in held and _does(core, held[core.distribution]) for core in _OPENTELEMETRY_CORE):
        return False, ""
    name = min(other, key=lambda one: (one != "opentelemetry_api", one))
    cure = _pip_install(python, (f"{one.replace('_', '-')}=={ours[one].version}" for one in sorted(other)))
    shown = name.replace("_", "-")
    return False, f"the app has {shown} {other[name]} and the agent comes with {ours[name].version}; cure: {cure}"


def _module_in_the_way(own: Iterable[Path], directories: Iterable[str]) -> str:
    """Name a module of the app that hides one of ours: were ours imported first, the app would get the wrong one."""
    places = [str(path) for path in own if str(path) not in {*directories, *sys.path}]
    for module in ("opentelemetry", *(item.modules[0].partition(".")[0] for item in COMPANIONS)):
        spec = PathFinder.find_spec(module, places)
        if spec and spec.origin and spec.loader:
            return (
                f"the app has a module of its own called {module} ({spec.origin}), which the agent needs to be another"
            )
    return ""


def _has(companion: Companion, theirs: Mapping[str, Held]) -> bool:
    """Whether the app has a distribution, with metadata or without."""
    return companion.distribution in theirs or _found(companion.modules[0]) is not None


def _found(module: str) -> ModuleSpec | None:
    """Look for a module on sys.path without importing the packages above it."""
    path: Sequence[str] | None = None
    spec = None
    names = module.split(".")
    for i in range(len(names)):
        spec = PathFinder.find_spec(".".join(names[: i + 1]), path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or [])
    return spec


def _numbers(version: str) -> tuple[int, ...]:
    """Turn "1.45.1" into (1, 45, 1) and "0.66b1" into (0, 66)."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in match[0].split(".")) if match else ()


def _does(companion: Companion, held: Held) -> bool:
    return companion.at_least <= _numbers(held.version) < companion.below


def _runs_here(item: Companion, ours: Mapping[str, Held]) -> bool:
    """Whether a distribution of ours is there, and for this Python as its metadata say."""
    held = ours.get(item.distribution)
    if held is None or item.is_for_any_python:
        return held is not None
    text = (held.metadata / "METADATA").read_text("utf-8", "replace")
    match = re.search(r"^Requires-Python:.*>=\s*(\d+(\.\d+)*)", text, re.MULTILINE)
    return match is None or _numbers(match[1]) <= sys.version_info[:3]


def _pip_install(python: str, requirements: Iterable[str]) -> str:
    quoted = " ".join(f"'{item}'" if set("<>,") & set(item) else item for item in requirements)
    return f"{python} -m pip install {quoted}"
