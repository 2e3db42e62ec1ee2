"""Protobuf requests to OTLP/JSON as the file exporter writes it: hex ids, enum integers, 64-bit numbers as strings."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from typing import Any

import orjson
from google.protobuf.descriptor import FieldDescriptor

_ID_FIELDS = frozenset({"trace_id", "span_id", "parent_span_id"})
_Convert = Callable[[Any], Any]


def to_json_line(request: Any) -> bytes:
    """An export request as one line of OTLP/JSON with its line end; `otlp_json` reads it back."""
    return orjson.dumps(_message(request), option=orjson.OPT_APPEND_NEWLINE)


def _message(message: Any) -> dict[str, Any]:
    fields = {}
    for field, value in message.ListFields():
        key, convert, is_repeated = _plan(field)
        fields[key] = [convert(one) for one in value] if is_repeated else convert(value)
    return fields


_PLANS: dict[str, tuple[str, _Convert, bool]] = {}


def _plan(field: Any) -> tuple[str, _Convert, bool]:
    """How a field is written: its key, the conversion of a value, and whether it is a list."""
    if field.full_name not in _PLANS:
        _PLANS[field.full_name] = (field.json_name, _conversion(field), field.is_repeated)
    return _PLANS[field.full_name]


def _conversion(field: Any) -> _Convert:
    if field.message_type is not None:
        return _message
    if field.name in _ID_FIELDS:
        return bytes.hex
    return _CONVERSIONS.get(field.type, _as_it_is)


def _as_it_is(value: Any) -> Any:
    return value


def _double(value: float) -> float | str:
    """JSON has no words for what is not finite; protobuf's mapping has."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


_CONVERSIONS: dict[int, _Convert] = {
    FieldDescriptor.TYPE_INT64: str,
    FieldDescriptor.TYPE_UINT64: str,
    FieldDescriptor.TYPE_FIXED64: str,
    FieldDescriptor.TYPE_SFIXED64: str,
    FieldDescriptor.TYPE_DOUBLE: _double,
    FieldDescriptor.TYPE_BYTES: _base64,
}
