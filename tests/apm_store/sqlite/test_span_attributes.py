"""An attribute is found by its key and the text of its value, whatever type the value has."""

from __future__ import annotations

from typing import Any

import pytest
from builders import attribute, make_request, make_span

from apm_store.sqlite.span_attributes import spans_with, tokens_of_pair
from apm_store.sqlite.token_filter import token_of

VALUES: list[tuple[Any, str]] = [
    ("5", "5"),
    (5, "5"),
    (-5, "-5"),
    (0, "0"),
    (2**63 - 1, "9223372036854775807"),
    (0.5, "0.5"),
    (5.0, "5.0"),
    (-0.0, "-0.0"),
    (1e300, "1e+300"),
    (float("inf"), "inf"),
    (float("nan"), "nan"),
    (True, "true"),
    (False, "false"),
    ("true", "true"),
    ("", ""),
    ("größe 🚀\0end", "größe 🚀\0end"),
    ("J" * 300, "J" * 300),
]


@pytest.mark.parametrize(("value", "text"), VALUES)
def test_a_value_is_found_by_its_text(value: Any, text: str) -> None:
    """A value has one of the tokens of its text, and its span is found by it in a request."""
    span = make_span("x", attributes={"key": value})
    request = make_request([span, make_span("y", span=2, attributes={"key": "other"})]).SerializeToString()

    found = list(spans_with([("key", text)], request))

    assert found == [(span.trace_id, span.span_id, span.kind)]
    assert token_of(attribute("key", value).SerializeToString()) in tokens_of_pair("key", text)


@pytest.mark.parametrize("text", ["5.", "05", " 5", "5_0", "True", "1e300", "Infinity", "9223372036854775808"])
def test_another_way_of_writing_a_value_is_another_text(text: str) -> None:
    """Only the text that JSON would write stands for a number or a boolean; others are looked for as strings alone."""
    values = {"a": 5, "b": 5.0, "c": 50, "d": True, "e": 1e300, "f": float("inf"), "g": 2**63 - 1}
    request = make_request([make_span("x", attributes=values)]).SerializeToString()

    found = [pair for key in values for pair in spans_with([(key, text)], request)]

    assert found == []
    assert len(tokens_of_pair("a", text)) == 1


def test_of_equal_keys_the_last_one_counts() -> None:
    """A key that comes again has its last value, whatever else the key's letters stand in."""
    span = make_span("x", attributes={"key": "first", "other": "key"})
    span.attributes.append(attribute("key", "last"))
    request = make_request([span]).SerializeToString()

    found = [text for text in ("first", "last", "key") if list(spans_with([("key", text)], request))]

    assert found == ["last"]
