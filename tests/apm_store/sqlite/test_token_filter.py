"""The filter of a block contains every attribute of its spans, whatever they are and whoever encoded them."""

from __future__ import annotations

import zlib

from builders import make_request, make_span
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from apm_store.sqlite.token_filter import TokenTest, build_filter, canonical, token_of, tokens_of

_TEXTS = st.text(st.sampled_from("aJjZ\x00é🚀\n") | st.characters(codec="utf-8"), max_size=300)
_VALUES = st.one_of(
    st.builds(AnyValue, string_value=_TEXTS),
    st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1)),
    st.builds(AnyValue, double_value=st.floats(allow_nan=False)),
    st.builds(AnyValue, bool_value=st.booleans()),
)
_ATTRIBUTES = st.lists(st.builds(KeyValue, key=_TEXTS, value=_VALUES), max_size=5)


@given(st.lists(_ATTRIBUTES, min_size=1, max_size=5))
def test_every_attribute_is_found(attributes: list[list[KeyValue]]) -> None:
    """The token of each attribute of each span is among those of the request, and passes the filter."""
    spans = [make_span("GET /", span=number, attributes={}) for number in range(1, len(attributes) + 1)]
    for span, pairs in zip(spans, attributes, strict=True):
        span.attributes.extend(pairs)
    tokens = tokens_of(make_request(spans).SerializeToString())
    built = build_filter(tokens)

    for pairs in attributes:
        for pair in pairs:
            token = token_of(pair.SerializeToString())
            assert not token or token in tokens
            assert TokenTest([[token]]).passes(built)


def test_other_values_are_mostly_ruled_out() -> None:
    """Of values that no span has, at most one in sixty passes the filter of a full block."""
    spans = [make_span("GET /", span=n, attributes={"user.id": f"u{n}", "method": "GET"}) for n in range(1, 4097)]
    built = build_filter(tokens_of(make_request(spans).SerializeToString()))

    absent = (KeyValue(key="user.id", value=AnyValue(string_value=f"x{n}")) for n in range(3_000))
    passed = sum(TokenTest([[token_of(pair.SerializeToString())]]).passes(built) for pair in absent)

    assert passed <= 50


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=50))
def test_a_filter_of_two_probes_is_read_as_such(tokens: list[bytes]) -> None:
    """A filter as it was built before the third probe, without the byte behind the bits, contains its tokens too."""
    mask = 1023
    bits = 0
    for checksum in map(zlib.crc32, tokens):
        bits |= 1 << (checksum & mask) | 1 << (checksum * 0x9E3779B1 >> 7 & mask)
    built = bits.to_bytes(128, "little")

    assert TokenTest([[token] for token in tokens]).passes(built)


def test_a_block_must_have_one_token_of_each_set() -> None:
    """Of each set any token suffices; an empty token is in every block, and without sets every block passes."""
    blocks = (build_filter([b"a", b"b"]), build_filter([b"c"] * 200))
    wanted = ([[b"a"]], [[b"a", b"c"]], [[b"a"], [b"b"]], [[b"a", b"b"], [b"c"]], [[b"x", b""]], [])
    passed = [[TokenTest(sets).passes(built) for built in blocks] for sets in wanted]

    assert passed == [[True, False], [True, True], [True, False], [False, False], [True, True], [True, True]]


def test_an_encoder_of_another_form_is_noticed() -> None:
    """Attributes whose lengths are padded, as some SDKs write them, are read from the request serialised anew."""
    span = make_span("GET /", attributes={"user.id": "u1"})
    request = make_request([span])
    plain = request.SerializeToString()
    pair = span.attributes[0].SerializeToString()
    padded_pair = b"J" + bytes((len(pair) | 0x80, 0x80, 0x00)) + pair
    encoded = span.SerializeToString().replace(b"J" + bytes((len(pair),)) + pair, padded_pair)
    assert Span.FromString(encoded) == span
    scope = b"\x12" + bytes((len(encoded),)) + encoded
    group = request.resource_spans[0].resource.SerializeToString()
    group = b"\x0a" + bytes((len(group),)) + group + b"\x12" + bytes((len(scope),)) + scope
    body = b"\x0a" + bytes((len(group),)) + group
    assert type(request).FromString(body) == request

    contents = canonical(request, plain), canonical(request, body)

    assert contents == (plain, plain)
    assert token_of(pair) in tokens_of(contents[1])
