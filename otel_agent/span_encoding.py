"""Spans as the bytes of an OTLP request, written directly.

The official encoder makes a protobuf object of every attribute, which costs ten times as much. What is rare is left to
it: events, links, values that are lists or mappings, resources and scopes.
"""

from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Any

from opentelemetry.exporter.otlp.proto.common._internal import (
    _encode_instrumentation_scope,
    _encode_resource,
    _encode_value,
    trace_encoder,
)
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from otel_agent.guard import guard

# Spans repeat most of their attributes: these are encoded once, as long as they are short and not too many.
_MOST_KNOWN = 1_000
_LONGEST_KNOWN = 500

# Tags: the number of a field, and how its value is written. In attributes of a span the first byte is that of the span.
_TIMES = Struct("<BQBQ").pack
_DOUBLE = Struct("<Bd").pack
_KINDS = tuple(bytes((0x30, number)) for number in range(1, 6))
_NO_STATUS = b"\x7a\x00"
_LOCAL_PARENT = b"\x85\x01\x00\x01\x00\x00"
_REMOTE_PARENT = b"\x85\x01\x00\x03\x00\x00"
_SHORT_LENGTHS = tuple(bytes((length,)) for length in range(128))

_known: dict[tuple[str, str], bytes] = {}


class EncodedSpans:
    """What the exporter asks the protobuf object of a request for."""

    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded

    def SerializePartialToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """Return the request."""
        return self._encoded

    SerializeToString = SerializePartialToString


def install() -> None:
    """Make the exporter encode in this way, and in its own where that fails; KeyError where it has none."""
    official: Callable[[Sequence[ReadableSpan]], Any] = vars(trace_exporter)["encode_spans"]

    def encode(spans: Sequence[ReadableSpan]) -> Any:
        with guard("encode spans directly"):
            return EncodedSpans(encode_spans(spans))
        return official(spans)

    trace_exporter.encode_spans = encode  # type: ignore[attr-defined, assignment]


def encode_spans(spans: Iterable[ReadableSpan]) -> bytes:
    """Encode an ExportTraceServiceRequest of spans that have ended."""
    resources: dict[int, tuple[Any, dict[int, tuple[Any, list[bytes]]]]] = {}
    for span in spans:
        scopes = resources.setdefault(id(span.resource), (span.resource, {}))[1]
        scope = span.instrumentation_scope
        scopes.setdefault(id(scope), (scope, []))[1].append(_field(b"\x12", _span(span)))
    return b"".join(_field(b"\x0a", _resource_spans(*resource)) for resource in resources.values())


def _resource_spans(resource: Any, scopes: dict[int, tuple[Any, list[bytes]]]) -> bytes:
    parts = [_field(b"\x0a", _encode_resource(resource).SerializePartialToString())]
    for scope, spans in scopes.values():
        encoded = _field(b"\x0a", _encode_instrumentation_scope(scope).SerializePartialToString()) + b"".join(spans)
        parts.append(_field(b"\x12", encoded + _schema_url(scope)))
    return b"".join(parts) + _schema_url(resource)


def _schema_url(owner: Any) -> bytes:
    url = owner.schema_url if owner else None
    return _field(b"\x1a", url.encode()) if url else b""


def _span(span: ReadableSpan) -> bytes:
    context: Any = span.context
    parent, state = span.parent, context.trace_state
    parts = [b"\x0a\x10", context.trace_id.to_bytes(16, "big"), b"\x12\x08", context.span_id.to_bytes(8, "big")]
    if state:
        parts.append(_field(b"\x1a", ",".join(f"{key}={value}" for key, value in state.items()).encode()))
    if parent:
        parts += (b"\x22\x08", parent.span_id.to_bytes(8, "big"))
    parts += (
        _field(b"\x2a", span.name.encode()),
        _KINDS[span.kind.value],
        _TIMES(0x39, span.start_time or 0, 0x41, span.end_time or 0),
    )
    _add_attributes(parts, span)
    if span._events or span._links or span.dropped_events or span.dropped_links or span.dropped_attributes:
        _add_rare_parts(parts, span)
    is_plain = span.status.status_code is StatusCode.UNSET and not span.status.description
    parts.append(_NO_STATUS if is_plain else _message(b"\x7a", trace_encoder._encode_status(span.status)))
    parts.append(_REMOTE_PARENT if parent and parent.is_remote else _LOCAL_PARENT)
    return b"".join(parts)


def _add_attributes(parts: list[bytes], span: ReadableSpan) -> None:
    attributes: Any = span._attributes
    values: Any = getattr(attributes, "_dict", attributes)
    for key, value in (values or {}).items():
        known = _known.get((key, value)) if type(value) is str else None
        parts.append(_attribute(key, value) if known is None else known)


def _attribute(key: str, value: Any) -> bytes:
    try:
        name, encoded = key.encode(), _value(value)
    except UnicodeEncodeError:  # a key may be anything
        return b""
    field = _field(b"\x4a", _field(b"\x0a", name) + _field(b"\x12", encoded))
    if type(value) is str and len(field) <= _LONGEST_KNOWN:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[key, value] = field
    return field


def _value(value: Any) -> bytes:
    kind = type(value)
    if kind is str:
        return _field(b"\x0a", value.encode())
    if kind is bool:
        return b"\x10\x01" if value else b"\x10\x00"
    if kind is int:
        return b"\x18" + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    if kind is float:
        return _DOUBLE(0x21, value)
    encoded: bytes = _encode_value(value).SerializePartialToString()
    return encoded


def _add_rare_parts(parts: list[bytes], span: ReadableSpan) -> None:
    parts += (_message(b"\x5a", event) for event in trace_encoder._encode_events(span.events) or ())
    parts += (_message(b"\x6a", link) for link in trace_encoder._encode_links(span.links) or ())
    for tag, dropped in (
        (b"\x50", span.dropped_attributes),
        (b"\x60", span.dropped_events),
        (b"\x70", span.dropped_links),
    ):
        if dropped:
            parts.append(tag + _varint(dropped))


def _message(tag: bytes, message: Any) -> bytes:
    return _field(tag, message.SerializePartialToString())


def _field(tag: bytes, content: bytes) -> bytes:
    length = len(content)
    return tag + (_SHORT_LENGTHS[length] if length < 128 else _varint(length)) + content


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
