"""OTLP/JSON to protobuf: the protobuf JSON mapping with OTLP's own rules for ids, enums and unknown fields."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

NOT_HEX = b"?"  # stands for an id that is not hexadecimal: no id is one byte long, so it is rejected as an item
_ID_FIELDS = frozenset({"trace_id", "span_id", "parent_span_id"})
_MAX_DEPTH = 100  # messages inside messages, as protobuf itself allows
_MAX_VALUES = 4_000_000  # about 400 MB of Python objects
_INTEGER = re.compile(r"-?[0-9]{1,20}\Z")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?\Z")
_SPECIAL_DOUBLES = frozenset({"NaN", "Infinity", "-Infinity"})
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*\Z")  # unlike bytes.fromhex: no spaces

_Convert = Callable[[Any, int], Any]
_Plan = dict[str, tuple[str, _Convert, bool]]  # JSON key -> field name, conversion, whether a list


class JsonFieldError(ValueError):
    """A value of the JSON body has the wrong type or range; `path` names its key."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.args[0]}" if self.path else f"{self.args[0]}"


def has_many_values(body: bytes) -> bool:
    """Whether a JSON body may hold more than 4 million values, judged by its commas and opening brackets."""
    return body.count(b",") + body.count(b"{") + body.count(b"[") > _MAX_VALUES


def parse_json(body: bytes, message: type[Message]) -> Message:
    """Build a protobuf message from an OTLP/JSON body; raises ValueError naming the key at fault.

    Unknown keys are ignored, and so are the field names of the .proto files (`trace_id`).
    An id that is not hexadecimal becomes NOT_HEX.
    """
    document = orjson.loads(body)
    return message(**_message(_plan(message.DESCRIPTOR), document, 0))


def _message(plan: _Plan, value: Any, depth: int) -> dict[str, Any]:
    """What to call a message type with, from a JSON object."""
    if type(value) is not dict:
        raise JsonFieldError(f"an object is needed, not {_kind(value)}")
    if depth > _MAX_DEPTH:
        raise JsonFieldError(f"more than {_MAX_DEPTH} levels")
    fields: dict[str, Any] = {}
    for key, item in value.items():
        field = plan.get(key)
        if field is None or item is None:
            continue
        name, convert, is_repeated = field
        try:
            if not is_repeated:
                fields[name] = convert(item, depth + 1)
            elif type(item) is list:
                fields[name] = [convert(one, depth + 1) for one in item]
            else:
                raise JsonFieldError(f"a list is needed, not {_kind(item)}")
        except JsonFieldError as fault:
            fault.path = f"{key}.{fault.path}" if fault.path else key
            raise
    return fields


def _attribute(plan: _Plan, value: Any, depth: int) -> dict[str, Any]:
    """What to call KeyValue with; most attributes are one string, and for them the walk is cut short."""
    if type(value) is dict and len(value) == 2 and depth < _MAX_DEPTH:
        key, inner = value.get("key"), value.get("value")
        if type(key) is str and type(inner) is dict and len(inner) == 1:
            text = inner.get("stringValue")
            if type(text) is str:
                return {"key": key, "value": {"string_value": text}}
    return _message(plan, value, depth)


_PLANS: dict[str, _Plan] = {}


def _plan(descriptor: Any) -> _Plan:
    """How to read each field of a message type."""
    if descriptor.full_name not in _PLANS:
        plan = _PLANS[descriptor.full_name] = {}
        for field in descriptor.fields:
            plan[field.json_name] = (field.name, _conversion(field), field.is_repeated)
    return _PLANS[descriptor.full_name]


def _conversion(field: FieldDescriptor) -> _Convert:
    if field.message_type is not None:
        convert = _attribute if field.message_type.name == "KeyValue" else _message
        return partial(convert, _plan(field.message_type))
    if field.name in _ID_FIELDS:
        return _to_id
    return _SCALARS[field.type]


def _kind(value: Any) -> str:
    """What a JSON value is, in JSON's words."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _to_id(value: Any, _depth: int) -> bytes:
    text = _to_text(value, 0)
    return bytes.fromhex(text) if _HEX.match(text) else NOT_HEX


def _to_text(value: Any, _depth: int) -> str:
    if type(value) is not str:
        raise JsonFieldError(f"a string is needed, not {_kind(value)}")
    return value


def _to_bool(value: Any, _depth: int) -> bool:
    if type(value) is not bool:
        raise JsonFieldError(f"a boolean is needed, not {_kind(value)}")
    return value


def _to_integer(low: int, high: int, value: Any, _depth: int) -> int:
    number = value
    if type(value) is str and _INTEGER.match(value):
        number = int(value)
    if type(number) is not int or not low <= number <= high:
        raise JsonFieldError(f"an integer from {low} to {high} is needed, not {_excerpt(value)}")
    return number


def _to_enum(value: Any, _depth: int) -> int:
    if type(value) is str:
        raise JsonFieldError(f"enums are integers in OTLP/JSON, not names like {_excerpt(value)}")
    return _to_integer(-(2**31), 2**31 - 1, value, 0)


def _to_double(value: Any, _depth: int) -> float:
    if type(value) is str and (value in _SPECIAL_DOUBLES or _NUMBER.match(value)):
        value = float(value)
    if type(value) not in (int, float):
        raise JsonFieldError(f"a number is needed, not {_excerpt(value)}")
    return float(value)


def _to_bytes(value: Any, _depth: int) -> bytes:
    text = _to_text(value, 0).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise JsonFieldError("base64 is needed") from error


def _excerpt(value: Any) -> str:
    """A value as the sender wrote it, cut to a length that fits a message."""
    text = repr(value) if isinstance(value, str | int | float | bool) else _kind(value)
    return text if len(text) <= 40 else text[:39] + "…"


_SCALARS: dict[int, _Convert] = {
    FieldDescriptor.TYPE_STRING: _to_text,
    FieldDescriptor.TYPE_BYTES: _to_bytes,
    FieldDescriptor.TYPE_BOOL: _to_bool,
    FieldDescriptor.TYPE_ENUM: _to_enum,
    FieldDescriptor.TYPE_DOUBLE: _to_double,
    FieldDescriptor.TYPE_INT32: partial(_to_integer, -(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SINT32: partial(_to_integer, -(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: partial(_to_integer, 0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: partial(_to_integer, 0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: partial(_to_integer, -(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SFIXED64: partial(_to_integer, -(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: partial(_to_integer, 0, 2**64 - 1),
    FieldDescriptor.TYPE_FIXED64: partial(_to_integer, 0, 2**64 - 1),
}
