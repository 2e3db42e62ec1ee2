"""Attribute values as OTLP can carry them, made without running a line of the host's code.

The API would call `str()` on an object it does not know: a lazy one then asks its database, a broken one raises into
the host, and a cyclic one recurses.
"""

import datetime
import decimal
import enum
import pathlib
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

import opentelemetry.attributes
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.metrics._internal import measurement

# Applies where OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT sets no other limit.
MOST_CHARACTERS = 16_384
_MOST_ITEMS = 1_000
_MOST_LEVELS = 8
_SMALLEST_INT, _LARGEST_INT = -(2**63), 2**63 - 1

# `str()` of exactly these runs no code but the interpreter's; a subclass may do anything.
_PRINTABLE = frozenset(
    {
        complex,
        decimal.Decimal,
        uuid.UUID,
        datetime.datetime,
        datetime.date,
        datetime.time,
        datetime.timedelta,
        pathlib.PosixPath,
        pathlib.WindowsPath,
        pathlib.PurePosixPath,
        pathlib.PureWindowsPath,
    }
)
_SEQUENCES = (list, tuple, set, frozenset)
_MAPPINGS = (dict, OrderedDict, defaultdict, MappingProxyType, BoundedAttributes)


class CleanAttributes(dict[str, Any]):
    """Attributes that are clean already and that nobody changes, so that nobody needs to look at them again.

    Others keep in its slots what they have made of it: its fields as bytes, and by instrument what measurements with
    these attributes are added to.
    """

    __slots__ = ("encoded", "series")
    encoded: tuple[bytes, bytes]

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.series: dict[Any, Any] = {}


def clean_value(value: Any, most_characters: int | None = None) -> Any:
    """Return the value with everything cut or named by its type that OTLP cannot carry or that is the host's to run."""
    kind = type(value)
    if kind is bool or kind is float or value is None or (kind is int and _SMALLEST_INT <= value <= _LARGEST_INT):
        return value
    if (
        kind is str
        and value.isascii()
        and len(value) <= (MOST_CHARACTERS if most_characters is None else most_characters)
    ):
        return value
    return _clean(value, MOST_CHARACTERS if most_characters is None else most_characters, [_MOST_ITEMS], 0)


def clean_text(text: str, most_characters: int = MOST_CHARACTERS) -> str:
    """Return the text cut to its limit, lone surrogates escaped: UTF-8 has none, and one would cost the whole batch."""
    text = str.__str__(text)[:most_characters]
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return text.encode(errors="backslashreplace").decode()[:most_characters]
    return text


def _clean(value: Any, most_characters: int, budget: list[int], level: int) -> Any:  # noqa: PLR0911 - one per type
    # type(), not isinstance(): that would ask the value for its __class__, which a lazy object answers by loading.
    kind = type(value)
    if value is None or kind in (bool, float):
        return value
    if issubclass(kind, str):
        return clean_text(value, most_characters)
    if issubclass(kind, int):
        number = int.__index__(value)
        return number if _SMALLEST_INT <= number <= _LARGEST_INT else f"<int of {number.bit_length()} bits>"
    if issubclass(kind, float):
        return float.__add__(value, 0.0)
    if issubclass(kind, bytes):
        return bytes.__getitem__(value, slice(most_characters))
    if kind in _PRINTABLE:
        return str(value)
    if issubclass(kind, enum.Enum):
        return clean_text(cast("str", value._name_), most_characters)
    if level < _MOST_LEVELS and kind in _SEQUENCES:
        return tuple(_clean(item, most_characters, budget, level + 1) for item in value if _spend(budget))
    if level < _MOST_LEVELS and kind in _MAPPINGS:
        return _clean_mapping(value, most_characters, budget, level + 1)
    return f"<{kind.__module__}.{kind.__qualname__}>"


def _clean_mapping(value: Mapping[Any, Any], most_characters: int, budget: list[int], level: int) -> dict[str, Any]:
    return {
        clean_text(key, most_characters): _clean(item, most_characters, budget, level)
        for key, item in list(value.items())
        if issubclass(type(key), str) and key and _spend(budget)
    }


def _spend(budget: list[int]) -> bool:
    budget[0] -= 1
    return budget[0] >= 0


def install() -> None:
    """Make the API and the SDK clean attribute values in this way."""
    for module in (opentelemetry.attributes, measurement):
        module._clean_attribute_value = _clean_attribute_value  # type: ignore[attr-defined]


def _clean_attribute_value(value: Any, max_string_value_length: int | None) -> Any:
    """Stand in for the API's function, which also cleans the mapping of all attributes of an item."""
    kind = type(value)
    if kind is str or kind is int:
        return clean_value(value, max_string_value_length)
    if kind is not dict:
        if not issubclass(kind, Mapping):
            return clean_value(value, max_string_value_length)
        value = dict(value)
    return cleaned(value, max_string_value_length)


def cleaned(attributes: dict[Any, Any], most_characters: int | None = None) -> dict[str, Any]:
    """Return attributes with their values cleaned, without those whose names are no text."""
    most = MOST_CHARACTERS if most_characters is None else most_characters
    return {
        key: (
            item if type(item) is str and item.isascii() and len(item) <= most else clean_value(item, most_characters)
        )
        for key, item in attributes.items()
        if type(key) is str and key
    }
