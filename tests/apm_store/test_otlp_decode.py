"""No field of OTLP is lost on the way from protobuf to the nouns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint

from apm_store.model import Batch, Signal
from apm_store.otlp_decode import (
    attributes_match,
    decode_attributes,
    decode_log_records,
    decode_metrics,
    decode_point,
    decode_spans,
    decode_value,
    parse_request,
)

EXCUSED = {
    "opentelemetry.proto.common.v1.KeyValue.key_strindex": "belongs to profiles; the stored body keeps it",
    "opentelemetry.proto.common.v1.AnyValue.string_value_strindex": "belongs to profiles; the stored body keeps it",
    "opentelemetry.proto.common.v1.EntityRef.schema_url": "entities are in development; the stored body keeps them",
    "opentelemetry.proto.common.v1.EntityRef.type": "entities are in development; the stored body keeps them",
    "opentelemetry.proto.common.v1.EntityRef.id_keys": "entities are in development; the stored body keeps them",
    "opentelemetry.proto.common.v1.EntityRef.description_keys": "entities are in development; the body keeps them",
}
DECODERS: dict[Signal, Callable[[Any], Iterator[Any]]] = {
    Signal.TRACES: decode_spans,
    Signal.METRICS: decode_metrics,
    Signal.LOGS: decode_log_records,
}


def _sent(message: Any) -> Iterator[tuple[str, Any]]:
    """Every scalar of a message with the full name of its field."""
    for field, value in message.ListFields():
        for item in value if field.is_repeated else (value,):
            if field.message_type is not None:
                yield from _sent(item)
            elif field.type == field.TYPE_BYTES and field.name.endswith("_id"):
                yield field.full_name, item.hex()
            else:
                yield field.full_name, item


def _received(noun: Any) -> Iterator[Any]:
    """Every scalar of a noun."""
    if dataclasses.is_dataclass(noun):
        for field in dataclasses.fields(noun):
            yield from _received(getattr(noun, field.name))
    elif isinstance(noun, Mapping):
        yield from noun
        for value in noun.values():
            yield from _received(value)
    elif isinstance(noun, tuple | list):
        for item in noun:
            yield from _received(item)
    else:
        yield noun.value if isinstance(noun, Enum) else noun


def _lost(batch: Batch) -> set[str]:
    received = set(_received(list(DECODERS[batch.signal](batch.request))))
    return {name for name, value in _sent(batch.request) if value not in received}


def test_every_field_reaches_the_nouns(full_batch: Batch) -> None:
    """What OTLP says about an item is found in its noun, but for the excused fields."""
    lost = _lost(full_batch)

    assert lost - set(EXCUSED) == set()


def test_every_field_is_filled(full_batch: Batch) -> None:
    """The request that stands for all of OTLP sets each field that its messages have."""
    filled, known = set(), set()
    for message in _messages(full_batch.request):
        filled |= {field.full_name for field, _ in message.ListFields()}
        known |= {field.full_name for field in message.DESCRIPTOR.fields if "AnyValue" not in field.full_name}

    assert known <= filled


def _messages(message: Any) -> Iterator[Any]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in value if field.is_repeated else (value,):
                yield from _messages(item)


def test_every_kind_of_value_becomes_python_data() -> None:
    """Arrays become tuples, key-value lists dicts, bytes stay bytes, an empty value is None."""
    pair = KeyValue(key="k", value=AnyValue(bool_value=True))
    values = [
        AnyValue(string_value="ü\0'"),
        AnyValue(int_value=-(2**63)),
        AnyValue(double_value=0.5),
        AnyValue(bytes_value=b"\xff"),
        AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue()])),
        AnyValue(kvlist_value=KeyValueList(values=[pair])),
        AnyValue(),
        AnyValue(string_value_strindex=3),
    ]

    decoded = [decode_value(value) for value in values]

    assert decoded == ["ü\0'", -(2**63), 0.5, b"\xff", (1, None), {"k": True}, None, None]


def test_the_last_of_equal_keys_counts() -> None:
    """A key that is sent twice has its last value."""
    pairs = [KeyValue(key="a", value=AnyValue(int_value=number)) for number in (1, 2)]

    assert decode_attributes(pairs) == {"a": 2}


def test_positions_pick_items(full_batch: Batch) -> None:
    """Asking for the last position alone gives the same item as decoding everything."""
    everything = list(DECODERS[full_batch.signal](full_batch.request))
    last = full_batch.item_count - 1

    picked = list(DECODERS[full_batch.signal](full_batch.request, {last}))  # type: ignore[call-arg]

    assert len(picked) == 1
    if full_batch.signal is Signal.METRICS:
        assert picked[0][1] == (last,)
        assert picked[0][0].points[0] == everything[-1][0].points[-1]
    else:
        assert picked[0] == everything[-1]


def test_a_histogram_without_a_sum_has_none() -> None:
    """A sum that was not sent is unknown, not 0."""
    assert decode_point(HistogramDataPoint(count=3)).sum is None
    assert decode_point(HistogramDataPoint(count=3, sum=0)).sum == 0


def test_a_body_parses_to_the_request_it_came_from(full_batch: Batch) -> None:
    """Serialising and parsing gives the same request."""
    assert parse_request(full_batch.signal, full_batch.body) == full_batch.request


def test_attributes_match_by_their_json_text() -> None:
    """Strings match as they are, numbers and booleans as JSON writes them."""
    attributes = {"s": "1", "i": 1, "b": True, "d": 0.5, "l": (1,), "n": None}

    matches = {key for key in attributes for text in ("1", "true", "0.5") if attributes_match(attributes, key, text)}

    assert matches == {"s", "i", "b", "d"}
