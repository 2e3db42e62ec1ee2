"""Reads the mappings of a configuration file: each value is checked, and what is not accepted is refused by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeVar

_T = TypeVar("_T")
_COMPONENT_ID = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:/[^\s/]+)?\Z")
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|us|µs|ns|s|m|h))+\Z")
_DURATION_PART = re.compile(r"([0-9.]+)(ms|us|µs|ns|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class ConfigKeyError(ValueError):
    """What is wrong in the file, at a key path."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)


def component_type(component_id: str) -> str:
    """The `type` of a component id `type[/name]`."""
    return component_id.partition("/")[0]


def join(path: str, key: object) -> str:
    """The path of a key in a mapping."""
    return f"{path}.{key}" if path else str(key)


def excerpt(value: object) -> str:
    """A value of the file, cut to a length that fits a message."""
    text = str(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def hint(word: object, accepted: Collection[str]) -> str:
    """What was probably meant, and everything that is accepted."""
    close = difflib.get_close_matches(str(word), accepted, n=1)
    meant = f', did you mean "{close[0]}"?' if close else ";"
    return f"{meant} accepted: {', '.join(accepted) or 'none'}"


class Keys:
    """One mapping of the file; every method reads one of its keys; ConfigKeyError says which value is wrong."""

    def __init__(self, value: Any, path: str, accepted: Collection[str], *, needed: str = "") -> None:
        """Check a mapping's keys; nothing at all counts as empty, and is refused when `needed` says what is missing."""
        if needed and (value is None or value == {}):
            raise ConfigKeyError(path, f"{needed} is missing or empty; accepted: {', '.join(accepted)}")
        if value is not None and not isinstance(value, dict):
            problem = f"a mapping is needed, not {excerpt(value)}; accepted: {', '.join(accepted)}"
            raise ConfigKeyError(path, problem)
        self.values: dict[str, Any] = value or {}
        self.path = path
        for key in self.values:
            if key not in accepted:
                raise ConfigKeyError(join(path, key), f"unknown key{hint(key, accepted)}")

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def fault(self, key: str, needed: str) -> ConfigKeyError:
        """The fault that a key's value is not what is needed."""
        return ConfigKeyError(join(self.path, key), f"{needed} is needed, not {excerpt(self.values.get(key))}")

    def section(self, key: str, accepted: Collection[str], *, needed: str = "") -> Keys:
        """The mapping at a key; empty when it is absent."""
        return Keys(self.values.get(key), join(self.path, key), accepted, needed=needed)

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number within bounds."""
        value = self.values.get(key, default)
        if type(value) is not int or not low <= value <= high:
            raise self.fault(key, f"an integer from {low} to {high}")
        return value

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A number within bounds."""
        value = self.values.get(key, default)
        if type(value) not in (int, float) or not low <= value <= high:
            raise self.fault(key, f"a number from {low:g} to {high:g}")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.values.get(key, default)
        if type(value) is not bool:
            raise self.fault(key, "true or false")
        return value

    def choice(self, key: str, default: str, choices: Collection[str]) -> str:
        """One of a few words."""
        value = self.values.get(key, default)
        if value not in choices:
            raise ConfigKeyError(join(self.path, key), f'unknown value "{excerpt(value)}"{hint(value, choices)}')
        return str(value)

    def text(self, key: str, default: str | None = None) -> str:
        """Text that is not empty; without a default the key must be there."""
        value = self.values.get(key, default)
        if not isinstance(value, str) or not value:
            raise self.fault(key, "text (in quotes if it looks like a number)")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty when it is absent."""
        return tuple(self.each(key, _read_text))

    def each(self, key: str, read: Callable[[Any, str], _T]) -> Iterator[_T]:
        """The items of a list, each read at its path; none when the list is absent."""
        items = self.values.get(key)
        if items is not None and not isinstance(items, list):
            raise self.fault(key, "a list")
        for index, item in enumerate(items or ()):
            yield read(item, f"{join(self.path, key)}[{index}]")

    def duration_s(self, key: str, default: str, *, low: str = "0s", high: str = "24h") -> float:
        """Seconds, from a duration as Go writes it: `200ms`, `10s`, `1h30m`."""
        value = self.values.get(key, default)
        if value == 0 and type(value) is int:
            value = "0s"
        if (
            not isinstance(value, str)
            or not _DURATION.match(value)
            or not _seconds(low) <= _seconds(value) <= _seconds(high)
        ):
            raise self.fault(key, f"a duration from {low} to {high}, like 200ms, 10s or 1h30m,")
        return _seconds(value)

    def components(self, section: str, readers: Mapping[str, Callable[[Any, str], Any]]) -> dict[str, Any]:
        """The components of a section by id, each read by the reader of its type."""
        value = self.values.get(section)
        if not isinstance(value, dict):
            raise ConfigKeyError(section, f"a mapping of component ids is needed, not {excerpt(value)}")
        components = {}
        for component_id, body in value.items():
            path = join(section, component_id)
            if not isinstance(component_id, str) or not _COMPONENT_ID.match(component_id):
                raise ConfigKeyError(path, "a component id is a type, or a type and a name: otlp, otlp/internal")
            kind = component_type(component_id)
            if kind not in readers:
                raise ConfigKeyError(path, f'unknown {section.removesuffix("s")} type "{kind}"{hint(kind, readers)}')
            components[component_id] = readers[kind](body, path)
        return components

    def ids(self, key: str, defined: Collection[str]) -> tuple[str, ...]:
        """A list of ids of components that the section of the same name defines, at least one, each once."""
        value, path = self.values.get(key), join(self.path, key)
        if not isinstance(value, list) or not value:
            example = next(iter(defined), "")
            raise ConfigKeyError(path, f"a list of {key} is needed, like [{example}], not {excerpt(value)}")
        for component_id in value:
            if not isinstance(component_id, str) or component_id not in defined:
                raise ConfigKeyError(
                    path, f'"{excerpt(component_id)}" is not defined under {key}{hint(component_id, defined)}'
                )
        if len(set(value)) < len(value):
            raise ConfigKeyError(path, f"a component stands twice in {excerpt(value)}")
        return tuple(value)


def _seconds(duration: str) -> float:
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(duration))


def _read_text(value: Any, path: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigKeyError(path, f"text (in quotes if it looks like a number) is needed, not {excerpt(value)}")
    return value
