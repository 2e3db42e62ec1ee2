"""The pieces of which OTLP messages are made, as bytes: what repeats is encoded once.

What is rare is left to the official encoder: values that are lists or mappings, and what a resource or scope says.
"""

from collections.abc import Iterable, Mapping
from struct import Struct
from typing import Any

from opentelemetry.exporter.otlp.proto.common._internal import (
    _encode_instrumentation_scope,
    _encode_resource,
    _encode_value,
)

from otel_agent.attribute_values import CleanAttributes

_MOST_KNOWN = 1_000
# Longer texts, and numbers that are as good as never the same, are not worth keeping.
_LONGEST_KNOWN = 500
_LARGEST_KNOWN = 0xFFFF
_REPEATED = frozenset({str, int})
_SHORT_LENGTHS = tuple(bytes((length,)) for length in range(128))

# Writes a byte, which is a tag, and the double behind it.
double_field = Struct("<Bd").pack


class EncodedRequest:
    """What an exporter asks the protobuf object of a request for."""

    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded

    def SerializePartialToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """Return the request."""
        return self._encoded

    SerializeToString = SerializePartialToString


class KnownFields(dict[Any, bytes]):
    """Fields of a certain tag, by what they say; `known[text]` encodes a text that is new."""

    def __init__(self, tag: int) -> None:
        super().__init__()
        self._tag = bytes((tag,))

    def __missing__(self, text: Any) -> bytes:
        """Encode the text, and keep it if it is short."""
        return self._keep(text, self._encode(text))

    def _encode(self, text: Any) -> bytes:
        return field(self._tag, text.encode())

    def _keep(self, key: Any, encoded: bytes) -> bytes:
        if len(encoded) <= _LONGEST_KNOWN:
            if len(self) >= _MOST_KNOWN:
                self.clear()
            self[key] = encoded
        return encoded


class KnownAttributes(KnownFields):
    """Attributes in fields of a certain tag, by (key, value)."""

    def __missing__(self, pair: Any) -> bytes:
        """Encode a pair, and keep it if it may come again; a key that is no Unicode is left out."""
        key, value = pair
        try:
            name, encoded = key.encode(), _any_value(value)
        except UnicodeEncodeError:  # a key may be anything
            return b""
        attribute = field(self._tag, field(b"\x0a", name) + field(b"\x12", encoded))
        # Whole numbers and truth values are equal to other types' values, so only one of these types may be kept.
        is_repeated = type(value) is str or (type(value) is int and 0 <= value <= _LARGEST_KNOWN)
        return self._keep(pair, attribute) if is_repeated else attribute

    def of(self, attributes: Any) -> Iterable[bytes]:
        """Return the fields of a mapping, which may be None."""
        values: Mapping[str, Any] = getattr(attributes, "_dict", attributes)
        if not values:
            return ()
        if type(values) is CleanAttributes:
            return (self._of_clean(values),)
        return self._of(values)

    def _of_clean(self, values: CleanAttributes) -> bytes:
        """Return the fields of attributes that are as good as certain to come again."""
        known: tuple[bytes, bytes] | None = getattr(values, "encoded", None)
        if known is None or known[0] != self._tag:
            values.encoded = known = self._tag, b"".join(self._of(values))
        return known[1]

    def _of(self, values: Mapping[str, Any]) -> Iterable[bytes]:
        if _REPEATED.issuperset(map(type, values.values())):
            return map(self.__getitem__, values.items())
        return [
            self[key, value] if type(value) in _REPEATED else self.__missing__((key, value))
            for key, value in values.items()
        ]


def _any_value(value: Any) -> bytes:
    kind = type(value)
    if kind is str:
        return field(b"\x0a", value.encode())
    if kind is bool:
        return b"\x10\x01" if value else b"\x10\x00"
    if kind is int:
        return b"\x18" + varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    if kind is float:
        return double_field(0x21, value)
    encoded: bytes = _encode_value(value).SerializePartialToString()
    return encoded


def field(tag: bytes, content: bytes) -> bytes:
    """Return a field whose length is written before it, as that of texts and messages is."""
    length = len(content)
    if length < 128:
        return tag + _SHORT_LENGTHS[length] + content
    if length < 0x4000:
        return tag + bytes((length & 127 | 128, length >> 7)) + content
    return tag + varint(length) + content


def varint(number: int) -> bytes:
    """Return a number that is not negative, seven bits in each byte."""
    if number < 128:
        return _SHORT_LENGTHS[number]
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


class _Owners:
    """Encoded resources or scopes, which stay what they are; by identity, for comparing them costs more."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, bytes]] = {}

    def get(self, owner: Any) -> bytes | None:
        known = self._known.get(id(owner))
        return None if known is None else known[1]

    def keep(self, owner: Any, encoded: bytes) -> bytes:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[id(owner)] = owner, encoded  # it lives on with its id
        return encoded


_resources, _scopes = _Owners(), _Owners()


def with_resource(resource: Any, content: bytes) -> bytes:
    """Return the field of an export request that says a resource, and what comes of it: fields of its scopes."""
    encoded = _resources.get(resource)
    if encoded is None:
        encoded = _resources.keep(resource, field(b"\x0a", _encode_resource(resource).SerializePartialToString()))
    return field(b"\x0a", encoded + content + _schema_url(resource))


def with_scope(scope: Any, content: bytes) -> bytes:
    """Return the field of a resource that says a scope, and what comes of it: fields of its spans or metrics."""
    encoded = _scopes.get(scope)
    if encoded is None:
        message = _encode_instrumentation_scope(scope)
        encoded = _scopes.keep(scope, field(b"\x0a", message.SerializePartialToString()))
    return field(b"\x12", encoded + content + _schema_url(scope))


def _schema_url(owner: Any) -> bytes:
    url = owner.schema_url if owner else None
    return field(b"\x1a", url.encode()) if url else b""
