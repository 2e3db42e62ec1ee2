"""Rewrites loose OTLP/JSON to what OTLP says: hex ids, enum integers, camelCase keys; each change is a warning.

Only files are read so: over the network a sender hears of its mistake and can mend it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

_ID_BYTES = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
_MAX_DEPTH = 100  # the strict parser refuses what lies deeper
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}\Z")
_OLD_KEYS = {  # of OTLP before 1.0
    "instrumentationLibrarySpans": "scopeSpans",
    "instrumentationLibraryMetrics": "scopeMetrics",
    "instrumentationLibraryLogs": "scopeLogs",
    "instrumentationLibrary": "scope",
}
_Warn = Callable[[str], None]


def to_strict(value: Any, descriptor: Any, warn: _Warn, depth: int = 0) -> None:
    """Rewrite a parsed JSON message in place; `warn` is called with the kind of each change.

    What cannot be understood stays as it is, for the strict parser to refuse.
    """
    if type(value) is not dict or depth > _MAX_DEPTH:
        return
    fields = _fields(descriptor)
    for key, item in list(value.items()):
        field = fields.get(key)
        if field is None:
            continue
        if key != field.json_name:
            warn("old keys renamed" if key in _OLD_KEYS else "snake_case keys read as camelCase")
            del value[key]
            item = value.setdefault(field.json_name, item)  # noqa: PLW2901  the proper key wins
        if field.message_type is not None:
            for one in item if type(item) is list else (item,):
                to_strict(one, field.message_type, warn, depth + 1)
        elif type(item) is str:
            value[field.json_name] = _to_strict_text(item, field, warn)


_FIELDS: dict[str, dict[str, Any]] = {}


def _fields(descriptor: Any) -> dict[str, Any]:
    """The fields of a message type by every key that they may have."""
    if descriptor.full_name not in _FIELDS:
        fields = {field.name: field for field in descriptor.fields}
        fields |= {field.json_name: field for field in descriptor.fields}
        fields |= {old: fields[new] for old, new in _OLD_KEYS.items() if new in fields}
        _FIELDS[descriptor.full_name] = fields
    return _FIELDS[descriptor.full_name]


def _to_strict_text(text: str, field: Any, warn: _Warn) -> str | int:
    """A string value as OTLP writes it: ids as hex, enums as integers, all others as they are."""
    if field.type == FieldDescriptor.TYPE_ENUM and text in field.enum_type.values_by_name:
        warn("enum names read as integers")
        return int(field.enum_type.values_by_name[text].number)
    if field.name in _ID_BYTES:
        return _to_hex(text, _ID_BYTES[field.name], warn)
    return text


def _to_hex(text: str, size: int, warn: _Warn) -> str:
    """An id as hex: base64 of the right length is converted; no id is as long in base64 as in hex."""
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    if len(plain) != (size * 8 + 5) // 6 or not _BASE64.match(plain):
        return text
    try:
        decoded = base64.b64decode(plain + "=" * (-len(plain) % 4))
    except binascii.Error:
        return text
    warn("base64 ids read as hexadecimal")
    return decoded.hex()
