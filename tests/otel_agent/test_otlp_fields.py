"""What repeats in OTLP messages is encoded once, and no more of it is kept than is good."""

from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.sdk.resources import Resource

from otel_agent import otlp_fields
from otel_agent.attribute_values import CleanAttributes
from otel_agent.otlp_fields import KnownAttributes, KnownFields, field, varint, with_resource


def pairs(encoded: bytes) -> list[KeyValue]:
    """Decode attributes in fields of the tag 0x4a, none of which is longer than 127 bytes."""
    found = []
    while encoded:
        assert encoded[0] == 0x4A
        found.append(KeyValue.FromString(encoded[2 : 2 + encoded[1]]))
        encoded = encoded[2 + encoded[1] :]
    return found


@pytest.mark.parametrize("value", ["a", 5, -5, 2**63 - 1, True, False, 0.5, 1.0, "", b"a", ["a"], {"a": 1}, None])
def test_a_value_is_the_same_when_it_comes_again(value):
    """The first encoding and the one that is remembered are equal, whatever the type."""
    known = KnownAttributes(0x4A)
    first, second = (b"".join(known.of({"key": value})) for _ in range(2))

    assert first == second
    assert [pair.key for pair in pairs(first)] == ["key"]


def test_equal_values_of_other_types_are_told_apart():
    """1, 1.0, True and "1" go out as what they are, in whichever order they come."""
    known = KnownAttributes(0x4A)
    values: list[Any] = [1, 1.0, True, "1"]
    kinds = [
        [pair.value.WhichOneof("value") for value in order for pair in pairs(b"".join(known.of({"key": value})))]
        for order in (values, values[::-1])
    ]

    assert kinds[0] == ["int_value", "double_value", "bool_value", "string_value"]
    assert kinds[1] == kinds[0][::-1]


def test_no_more_is_kept_than_a_thousand_short_ones():
    """A host that makes up values as it runs does not make the agent keep them."""
    attributes, names = KnownAttributes(0x4A), KnownFields(0x2A)
    for number in range(2500):
        list(attributes.of({"text": f"{number}", "number": number, "large": number + 70_000, "long": "x" * 1000}))
        assert names[f"name {number}"] == field(b"\x2a", f"name {number}".encode())
        assert names["long" * 1000]

    assert 0 < len(attributes) <= 1000
    assert 0 < len(names) <= 1000
    assert max(map(len, [*attributes.values(), *names.values()])) < 100
    assert not any(key == "large" for key, _ in attributes)


def test_a_resource_that_takes_the_place_of_another_is_not_taken_for_it():
    """Resources are known by identity, and live as long as they are known."""
    encoded = {with_resource(Resource({"number": number}), b"") for number in range(50)}

    assert len(encoded) == 50


def test_resources_that_are_kept_are_bounded(monkeypatch):
    """A host that makes resources without end does not make the agent keep them."""
    monkeypatch.setattr(otlp_fields, "_MOST_KNOWN", 10)
    for number in range(50):
        with_resource(Resource({"number": number}), b"")

    assert len(otlp_fields._resources._known) <= 10


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 3_000_000])
def test_lengths(length):
    """A field says its length in as many bytes as that takes."""
    tag_and_length = field(b"\x0a", bytes(length))[: -length or None]

    assert tag_and_length == b"\x0a" + varint(length)


def test_attributes_that_come_again_are_encoded_once_for_each_tag():
    """What many spans share is the same for all of them, and another one where it is written in another field."""
    shared = CleanAttributes({"a": "b", "c": 0.5, "d": ["e"]})
    spans, points = KnownAttributes(0x4A), KnownAttributes(0x3A)
    expected = b"".join(spans.of(dict(shared)))

    encoded = [b"".join(known.of(shared)) for known in (spans, spans, points, spans)]

    assert encoded[0] == encoded[1] == encoded[3] == expected
    assert encoded[2] == b"".join(points.of(dict(shared))) != expected
