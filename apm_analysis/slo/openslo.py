"""OpenSLO v1 YAML files → objectives; whatever is not understood is refused by file and key.

The subset is one SLO per document: a spanwise ratio metric over occurrences, a rolling window, one objective.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from apm_analysis.slo.objective import Availability, Indicator, Latency, Objective
from apm_store.query import HOUR_NS, MINUTE_NS

API_VERSIONS = ("openslo/v1", "openslo.com/v1")
MIN_WINDOW_NS = 24 * HOUR_NS
MAX_WINDOW_NS = 90 * 24 * HOUR_NS
_WINDOW_UNITS = {"m": MINUTE_NS, "h": HOUR_NS, "d": 24 * HOUR_NS, "w": 7 * 24 * HOUR_NS}
_LATENCY_UNITS = {"us": 1e3, "ms": 1e6, "s": 1e9, "m": 6e10}
_QUANTITY = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([a-z]{1,2})", re.ASCII)
_SPEC_KEYS = ("description", "service", "indicator", "timeWindow", "budgetingMethod", "objectives")


@dataclass(frozen=True, slots=True)
class ObjectiveSet:
    """The objectives of a directory, and one sentence for each document that could not be used."""

    objectives: tuple[Objective, ...]
    problems: tuple[str, ...]


class _RefusedError(ValueError):
    """A document does not fit; the message names the key."""


def load_objectives(directory: Path) -> ObjectiveSet:
    """The objectives of all `*.yaml` and `*.yml` files of a directory, by file name; none when it does not exist.

    Files are parsed again only when their time or size changed.
    """
    objectives: dict[str, Objective] = {}
    problems: list[str] = []
    for path in sorted(path for path in directory.glob("*") if path.suffix in {".yaml", ".yml"}):
        try:
            stat = path.stat()
            found = _parse_file(path, stat.st_mtime_ns, stat.st_size)
        except OSError as exc:
            problems.append(f"{path.name}: the file cannot be read ({exc.strerror}).")
            continue
        problems += found.problems
        for objective in found.objectives:
            if objective.name in objectives:
                problems.append(f"{path.name}: metadata.name “{objective.name}” is already taken; give it another one.")
            objectives.setdefault(objective.name, objective)
    return ObjectiveSet(tuple(objectives.values()), tuple(problems))


@lru_cache(maxsize=256)
def _parse_file(path: Path, _mtime_ns: int, _size: int) -> ObjectiveSet:
    try:
        documents = list(yaml.safe_load_all(path.read_text("utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as exc:
        return ObjectiveSet((), (f"{path.name}: this is not YAML: {_first_line(exc)}.",))
    objectives, problems = [], []
    for number, document in enumerate(documents, start=1):
        if document is None:
            continue
        try:
            objectives.append(_objective(document))
        except _RefusedError as exc:
            where = f"{path.name}, document {number}" if len(documents) > 1 else path.name
            problems.append(f"{where}: {exc}")
    return ObjectiveSet(tuple(objectives), tuple(problems))


def _first_line(exc: Exception) -> str:
    mark = getattr(exc, "problem_mark", None)
    where = f" in line {mark.line + 1}" if mark else ""
    return (getattr(exc, "problem", None) or str(exc).partition("\n")[0] or "nested too deeply").rstrip(".") + where


def _objective(document: object) -> Objective:
    slo = _mapping(document, "", ("apiVersion", "kind", "metadata", "spec"))
    _one_of(slo.get("apiVersion"), "apiVersion", API_VERSIONS)
    _one_of(slo.get("kind"), "kind", ("SLO",))
    metadata = _mapping(slo.get("metadata"), "metadata", ("name", "displayName", "labels", "annotations"))
    spec = _mapping(slo.get("spec"), "spec", _SPEC_KEYS)
    _one_of(spec.get("budgetingMethod"), "spec.budgetingMethod", ("Occurrences",))
    name = _text(metadata.get("name"), "metadata.name")
    service = _text(spec.get("service"), "spec.service")
    return Objective(
        name=name,
        display_name=_text(metadata.get("displayName", name), "metadata.displayName"),
        description=_text(spec.get("description", name), "spec.description"),
        service=service,
        target=_target(spec.get("objectives")),
        window_ns=_window_ns(spec.get("timeWindow")),
        indicator=_indicator(spec.get("indicator"), service),
    )


def _target(value: object) -> float:
    key = "spec.objectives[0]"
    objective = _mapping(_only(value, "spec.objectives"), key, ("displayName", "target", "targetPercent"))
    if ("target" in objective) == ("targetPercent" in objective):
        raise _RefusedError(f"{key} needs either target (0.995) or targetPercent (99.5).")
    name, whole = ("target", 1) if "target" in objective else ("targetPercent", 100)
    target = objective[name]
    if isinstance(target, bool) or not isinstance(target, int | float) or not 0 < target < whole:
        raise _RefusedError(f"{key}.{name} is {target!r}; write a number above 0 and below {whole}.")
    return target / whole


def _window_ns(value: object) -> int:
    key = "spec.timeWindow[0]"
    window = _mapping(_only(value, "spec.timeWindow"), key, ("duration", "isRolling"))
    if window.get("isRolling") is not True:
        raise _RefusedError(f"{key}.isRolling must be true: calendar windows are not supported.")
    window_ns = _quantity(window.get("duration"), f"{key}.duration", _WINDOW_UNITS, "30d")
    if not MIN_WINDOW_NS <= window_ns <= MAX_WINDOW_NS:
        raise _RefusedError(f"{key}.duration is “{window['duration']}”; write a duration from 1d to 90d.")
    return window_ns


def _indicator(value: object, service: str) -> Indicator:
    indicator = _mapping(value, "spec.indicator", ("metadata", "spec"))
    key = "spec.indicator.spec"
    ratio = _mapping(_mapping(indicator.get("spec"), key, ("ratioMetric",)).get("ratioMetric"), f"{key}.ratioMetric")
    key += ".ratioMetric"
    _mapping(ratio, key, ("counter", "good", "bad", "total"))
    if ratio.get("counter", True) is not True:
        raise _RefusedError(f"{key}.counter must be true: gauges are not supported.")
    if ("good" in ratio) == ("bad" in ratio):
        raise _RefusedError(f"{key} needs total, and either bad (outcome: failed) or good (max_duration: 600ms).")
    operation = _operation(_metric_source(ratio.get("total"), f"{key}.total", ("operation",)), f"{key}.total")
    side, condition = ("bad", "outcome") if "bad" in ratio else ("good", "max_duration")
    source = _metric_source(ratio[side], f"{key}.{side}", ("operation", condition))
    where = f"{key}.{side}.metricSource.spec"
    if _operation(source, f"{key}.{side}") != operation:
        raise _RefusedError(f"{where}.operation differs from that of total; both must be the same.")
    if side == "bad":
        _one_of(source.get("outcome"), f"{where}.outcome", ("failed",))
        return Availability(service, operation)
    threshold_ns = _quantity(source.get("max_duration"), f"{where}.max_duration", _LATENCY_UNITS, "600ms")
    return Latency(service, operation, threshold_ns)


def _metric_source(value: object, key: str, known: Collection[str]) -> dict[str, Any]:
    source = _mapping(_mapping(value, key, ("metricSource",)).get("metricSource"), f"{key}.metricSource")
    _mapping(source, f"{key}.metricSource", ("type", "spec"))
    _one_of(source.get("type"), f"{key}.metricSource.type", ("spanwise",))
    return _mapping(source.get("spec", {}), f"{key}.metricSource.spec", known)


def _operation(source: dict[str, Any], key: str) -> str | None:
    return _text(source["operation"], f"{key}.metricSource.spec.operation") if "operation" in source else None


def _mapping(value: object, key: str, known: Collection[str] | None = None) -> dict[str, Any]:
    """The value as a mapping that has no keys but `known` ones."""
    if not isinstance(value, dict):
        raise _RefusedError(f"{key or 'the document'} is {'missing' if value is None else 'no mapping'}.")
    unknown = [name for name in value if known is not None and name not in known]
    if unknown:
        path = f"{key}.{unknown[0]}".lstrip(".")
        raise _RefusedError(f"{path} is not supported; known here: {', '.join(known or ())}.")
    return value


def _only(value: object, key: str) -> object:
    if not isinstance(value, list) or len(value) != 1:
        raise _RefusedError(f"{key} must be a list of exactly one.")
    return value[0]


def _one_of(value: object, key: str, known: Collection[str]) -> None:
    if value not in known:
        raise _RefusedError(f"{key} is {'missing' if value is None else repr(value)}; write {' or '.join(known)}.")


def _text(value: object, key: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _RefusedError(f"{key} is {'missing' if value is None else repr(value)}; write a text.")
    return value.strip()


def _quantity(value: object, key: str, units: Mapping[str, float], example: str) -> int:
    match = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match or match[2] not in units or not float(match[1]):
        raise _RefusedError(f"{key} is {value!r}; write a duration such as {example} ({', '.join(units)}).")
    return round(float(match[1]) * units[match[2]])
