"""Spans as the bytes of an OTLP request, written directly.

The official encoder makes a protobuf object of every attribute, which costs ten times as much. What is rare is left to
it: events and links.
"""

from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Any

from opentelemetry.exporter.otlp.proto.common._internal import trace_encoder
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import INVALID_SPAN, StatusCode

from otel_agent.guard import guard
from otel_agent.otlp_fields import (
    EncodedRequest,
    KnownAttributes,
    KnownFields,
    field,
    varint,
    with_resource,
    with_scope,
)

# Tags: the number of a field, and how its value is written.
_TIMES = Struct("<BQBQ").pack
_KINDS = tuple(bytes((0x30, number)) for number in range(1, 6))
_NO_STATUS = b"\x7a\x00"
_LOCAL_PARENT = b"\x85\x01\x00\x01\x00\x00"
_REMOTE_PARENT = b"\x85\x01\x00\x03\x00\x00"

_NO_TRACE_STATE = INVALID_SPAN.get_span_context().trace_state

_names = KnownFields(0x2A)
_attributes = KnownAttributes(0x4A)


def install() -> None:
    """Make the exporter encode in this way, and in its own where that fails; KeyError where it has none."""
    official: Callable[[Sequence[ReadableSpan]], Any] = vars(trace_exporter)["encode_spans"]

    def encode(spans: Sequence[ReadableSpan]) -> Any:
        with guard("encode spans directly"):
            return EncodedRequest(encode_spans(spans))
        return official(spans)

    trace_exporter.encode_spans = encode  # type: ignore[attr-defined, assignment]


def encode_spans(spans: Iterable[ReadableSpan]) -> bytes:
    """Encode an ExportTraceServiceRequest of spans that have ended."""
    resources: dict[int, tuple[Any, dict[int, tuple[Any, list[bytes]]]]] = {}
    for span in spans:
        resource, scope = span._resource, span._instrumentation_scope
        scopes = resources.get(id(resource)) or resources.setdefault(id(resource), (resource, {}))
        encoded = scopes[1].get(id(scope)) or scopes[1].setdefault(id(scope), (scope, []))
        encoded[1].append(field(b"\x12", _span(span)))
    return b"".join(
        with_resource(resource, b"".join(with_scope(scope, b"".join(encoded)) for scope, encoded in scopes.values()))
        for resource, scopes in resources.values()
    )


def _span(span: ReadableSpan) -> bytes:
    context: Any = span._context
    parent: Any = span._parent
    attributes: Any = span._attributes
    status = span._status
    parts = [b"\x0a\x10", context[0].to_bytes(16, "big"), b"\x12\x08", context[1].to_bytes(8, "big")]
    if context[4] is not _NO_TRACE_STATE:
        parts.append(_trace_state(context[4]))
    if parent:
        parts += (b"\x22\x08", parent[1].to_bytes(8, "big"))
    parts += (
        _names[span._name],
        _KINDS[span._kind._value_],
        _TIMES(0x39, span._start_time or 0, 0x41, span._end_time or 0),
        *_attributes.of(attributes),
    )
    if _has_rare_parts(span._events, span._links, attributes):
        _add_rare_parts(parts, span)
    is_plain = status._status_code is StatusCode.UNSET and not status._description
    parts.append(_NO_STATUS if is_plain else _message(b"\x7a", trace_encoder._encode_status(status)))
    parts.append(_REMOTE_PARENT if parent and parent[2] else _LOCAL_PARENT)
    return b"".join(parts)


def _trace_state(state: Any) -> bytes:
    return field(b"\x1a", ",".join(f"{key}={value}" for key, value in state.items()).encode()) if state else b""


def _has_rare_parts(events: Any, links: Any, attributes: Any) -> bool:
    """Tell whether there are events or links, or something has been dropped."""
    return bool(
        getattr(events, "_dq", events)
        or getattr(links, "_dq", links)
        or getattr(attributes, "dropped", 0)
        or getattr(events, "dropped", 0)
        or getattr(links, "dropped", 0)
    )


def _add_rare_parts(parts: list[bytes], span: ReadableSpan) -> None:
    parts += (_message(b"\x5a", event) for event in trace_encoder._encode_events(span.events) or ())
    parts += (_message(b"\x6a", link) for link in trace_encoder._encode_links(span.links) or ())
    for tag, dropped in (
        (b"\x50", span.dropped_attributes),
        (b"\x60", span.dropped_events),
        (b"\x70", span.dropped_links),
    ):
        if dropped:
            parts.append(tag + varint(dropped))


def _message(tag: bytes, message: Any) -> bytes:
    return field(tag, message.SerializePartialToString())
