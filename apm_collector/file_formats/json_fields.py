"""Typed looks into JSON objects of strangers: the value of a key, or a fault that names it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

_HEX = re.compile(r"[0-9a-fA-F]+\Z")
_INTEGER = re.compile(r"[0-9]{1,20}\Z")
_MAX_MICROS = (2**64 - 1) // 1000  # OTLP's times are 64-bit nanoseconds


class FieldError(ValueError):
    """A key of a JSON object is missing or has a value that cannot be used; the message names it."""


def text(fields: Mapping[str, Any], key: str) -> str:
    """A string; "" when it is missing or null."""
    value = fields.get(key)
    if value is None:
        return ""
    if type(value) is not str:
        raise FieldError(f"{key} is not a string")
    return value


def objects(fields: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """A list of objects; empty when it is missing or null."""
    value = fields.get(key)
    if value is None:
        return []
    if type(value) is not list or any(type(one) is not dict for one in value):
        raise FieldError(f"{key} is not a list of objects")
    return value


def mapping(fields: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An object; empty when it is missing or null."""
    value = fields.get(key)
    if value is None:
        return {}
    if type(value) is not dict:
        raise FieldError(f"{key} is not an object")
    return value


def json_text(value: Any) -> str:
    """A value as JSON text."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:
        raise FieldError("a value has too many levels") from error


def micros_to_ns(fields: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """Microseconds, as a number or its text, in nanoseconds; without a default they must be there."""
    value = fields.get(key)
    if value is None and default is not None:
        return default
    if value is None:
        raise FieldError(f"{key} is missing")
    number = int(value) if type(value) is str and _INTEGER.match(value) else value
    if type(number) is float and number.is_integer():
        number = int(number)
    if type(number) is not int or not 0 <= number <= _MAX_MICROS:
        raise FieldError(f"{key} is no number of microseconds")
    return number * 1000


def hex_id(fields: Mapping[str, Any], key: str, size: int) -> bytes:
    """An id of `size` bytes from hex digits, of which leading zeros may be missing; b"" when there is none."""
    value = text(fields, key)
    if not value:
        return b""
    if not _HEX.match(value) or len(value) > 2 * size:
        raise FieldError(f"{key} is not an id of at most {2 * size} hexadecimal digits")
    return bytes.fromhex(value.zfill(2 * size))
