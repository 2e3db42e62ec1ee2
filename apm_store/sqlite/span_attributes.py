"""Finds the spans of stored requests that have some attributes, by their bytes first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from apm_store.model import Attributes
from apm_store.otlp_decode import attributes_match, decode_attributes, decode_value, value_text
from apm_store.sqlite.token_filter import token_of
from apm_store.sqlite.wire_format import submessages

_RESOURCE_SPANS = ExportTraceServiceRequest.RESOURCE_SPANS_FIELD_NUMBER
_RESOURCE = ResourceSpans.RESOURCE_FIELD_NUMBER
_SCOPE_SPANS = ResourceSpans.SCOPE_SPANS_FIELD_NUMBER
_SPANS = ScopeSpans.SPANS_FIELD_NUMBER
_TRACE_ID = bytes((Span.TRACE_ID_FIELD_NUMBER << 3 | 2, 16))  # tag and length
_HEAD = len(_TRACE_ID) + 16

Pair = tuple[str, str]
SpanKey = tuple[bytes, bytes, int]
"""Trace id, span id and kind: what tells a span from every other."""


def tokens_of_pair(key: str, text: str) -> list[bytes]:
    """The tokens of all attributes with this key whose value, written as text, is `text`."""
    return [token_of(KeyValue(key=key, value=value).SerializeToString()) for value in _values_of(text)]


def spans_with(pairs: Sequence[Pair], content: bytes, trace_ids: Collection[bytes] | None = None) -> Iterator[SpanKey]:
    """The spans of a serialised trace request that have all these attributes, of their own or of their resource.

    Only spans whose bytes can hold the attributes are decoded; of those that begin with their trace id, as nearly all
    do, only the ones of `trace_ids` when these are given.
    """
    heads = None if trace_ids is None else {_TRACE_ID + trace_id for trace_id in trace_ids}
    if not _may_have(content, [_bytes_of(pair) for pair in pairs]):
        return
    for group in submessages(content, 0, len(content), _RESOURCE_SPANS):
        resource = _resource_of(content, *group)
        rest = [pair for pair in pairs if not attributes_match(resource, *pair)]
        texts = [_bytes_of(pair) for pair in rest]
        for scope in submessages(content, *group, _SCOPE_SPANS):
            for start, end in submessages(content, *scope, _SPANS):
                if (
                    heads is not None
                    and content[start : start + _HEAD] not in heads
                    and content.startswith(_TRACE_ID, start)
                ):
                    continue
                part = content[start:end]
                if _may_have(part, texts):
                    span = Span.FromString(part)
                    if _has_attributes(span, part, rest):
                        yield span.trace_id, span.span_id, span.kind


def _resource_of(content: bytes, start: int, end: int) -> Attributes:
    """The attributes of the resource of a `ResourceSpans`; parts of it that stand apart belong together."""
    parts = [content[start:end] for start, end in submessages(content, start, end, _RESOURCE)]
    return decode_attributes(Resource.FromString(b"".join(parts)).attributes)


def _values_of(text: str) -> list[AnyValue]:
    """All values that are written as this text."""
    values = [AnyValue(string_value=text)]
    if text in ("true", "false"):
        values.append(AnyValue(bool_value=text == "true"))
    return [*values, *(value for value in (_integer(text), _double(text)) if value is not None)]


def _integer(text: str) -> AnyValue | None:
    try:
        value = int(text)
        return AnyValue(int_value=value) if value_text(value) == text else None
    except ValueError:  # also for integers beyond 64 bits
        return None


def _double(text: str) -> AnyValue | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return AnyValue(double_value=value) if value_text(value) == text else None


def _bytes_of(pair: Pair) -> tuple[bytes, list[bytes]]:
    """What protobuf must contain for an attribute to be in it: the field of its key, and one of those of its value."""
    key, text = pair
    return KeyValue(key=key).SerializeToString(), [value.SerializeToString() for value in _values_of(text)]


def _may_have(content: bytes, wanted: Iterable[tuple[bytes, list[bytes]]]) -> bool:
    """Whether these bytes can hold all attributes: that rules most out, at a fifth of the cost of decoding."""
    for key, values in wanted:  # plain loops, because this runs for every span of a block
        for value in values:  # rarer than the key
            if value in content:
                break
        else:
            return False
        if key not in content:
            return False
    return True


def _has_attributes(span: Any, content: bytes, pairs: Sequence[Pair]) -> bool:
    """Whether a span has all attributes; of equal keys the last one counts. `content` is its serialised form."""
    for key, text in pairs:
        is_alone = content.count(key.encode()) == 1  # what stands once need not be looked for any further
        value = None
        for pair in span.attributes:
            if pair.key == key:
                value = pair.value
                if is_alone:
                    break
        if value is None or value_text(decode_value(value)) != text:
            return False
    return True
