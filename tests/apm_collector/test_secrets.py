"""The look over the bytes never misses what the look at the text finds."""

from __future__ import annotations

import re

import pytest
from builders import make_request, make_span
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ScopeLogs

from apm_collector.secrets import (
    folded_key,
    is_card_number,
    is_secret_even_as_number,
    is_secret_key,
    may_hold_secrets,
    redact_text,
)

WORDS = [
    *("Authorization: Bearer abcdef123456", "authorization", "COOKIE", "set-cookie", "Password", "passwd", "pwd"),
    *("x-api-key", "api_key", "ApiKey", "access key", "AWS_ACCESS_KEY_ID", "privateKey", "signing.key", "jwt", "token"),
    *("https://a:b@c", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "AKIAIOSFODNN7EXAMPLE", "sk_live_0123456789ab"),
    *("?Signature=x", "&sig=x", "4111 1111 1111 1111", "4111111111111111", "secret", "bearer"),
]


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_seen_in_the_bytes(word: str) -> None:
    """However it is written, and whatever stands around it."""
    assert may_hold_secrets(b"\x00\x91" + word.encode() + b"\x12\x05value")


_PLAIN_RULES = re.compile(
    rb"secret|bearer|authoriz|token(?!s)|cookie|akia|[sr]k_(?:live|test)|api.?key|access.?key|private.?key|signing.?key"
    rb"|[ps]wd|password|jwt|sig=|signature=|eyJ|://[^/\s@]{0,300}@",
    re.IGNORECASE,
)
_PIECES = [
    *(
        b"secret",
        b"Bearer",
        b"authoriz",
        b"eyJ",
        b"token",
        b"tokens",
        b"cookie",
        b"AKIA",
        b"sk_live",
        b"rk_test",
        b"pwd",
    ),
    *(b"apikey", b"ACCESS.key", b"Private-Key", b"signing_key", b"passwd", b"password", b"jwt", b"sig=", b"Signature="),
    *(b"://", b"@", b"/", b" ", b"x" * 299, b"s", b"k", b"=", b"y", b"z", b"w", b"\x00", b"\x10\n"),
]


@given(st.lists(st.one_of(st.sampled_from(_PIECES), st.binary(max_size=4)), max_size=6), st.sampled_from([0, 32]))
def test_the_look_finds_all_that_the_plain_rules_find(pieces: list[bytes], flip: int) -> None:
    """It is only quicker: it folds letters together and looks behind rare ones."""
    body = b"".join(bytes([piece[0] ^ flip]) + piece[1:] for piece in pieces if piece)

    assert may_hold_secrets(body) or not _PLAIN_RULES.search(body)


@pytest.mark.parametrize("number", ["4111 1111 1111 1111", "378282246310005", "6011-1111-1111-1117", "4222222222222"])
@pytest.mark.parametrize("size", [19, 44, 45, 46, 48, 52, 57, 74, 127, 128, 6200])
def test_a_card_number_is_seen_wherever_it_stands_in_a_message(number: str, size: int) -> None:
    """The length before a text and the tag behind it may be bytes that look like a digit, a dash or a letter."""
    filler = "x" * (size - len(number) - 1)
    bodies = []
    for text in (f"{number} {filler}", f"{filler} {number}"):
        attributes = {"first": text, "second": "x" * 44}
        bodies += [make_request([make_span("op", attributes=attributes)]), make_request([make_span(text)])]
        record = LogRecord(body=AnyValue(string_value=text))
        record.attributes.add(key="k" * 40).value.string_value = "value"  # 48 bytes: its length looks like a 0
        bodies.append(ScopeLogs(log_records=[record]))

    assert all(may_hold_secrets(body.SerializeToString()) for body in bodies)


_DIGITS = ["4111 1111 1111 1111", "4222222222222", "6011-1111-1111-1117", "1", "2", "5", "0", "-", " ", "a", ".", "é"]


@given(st.lists(st.sampled_from(_DIGITS), max_size=6).map("".join), st.sampled_from([0, 2]), st.integers(0, 2**60))
def test_digits_that_go_from_a_text_are_seen_in_its_message(text: str, kind: int, start_ns: int) -> None:
    """Whatever stands before and behind them, in the text and in the message."""
    span = make_span(text, kind=kind, start_ns=start_ns, attributes={"a": text, "b": "c"})
    span.status.message = text

    assert redact_text(text) == text or may_hold_secrets(span.SerializeToString())


@given(st.text(min_size=1, max_size=40))
def test_a_key_that_is_secret_is_seen_in_the_bytes(prefix: str) -> None:
    """`is_secret_key` says yes only where `may_hold_secrets` does."""
    for ending in ("token", "password", "api-key", "Cookie", ".pwd", "accessKeyId", "secret"):
        key = prefix + ending
        assert not is_secret_key(key) or may_hold_secrets(key.encode() + b"\x12")


@pytest.mark.parametrize(
    ("number", "is_card"),
    [("4111 1111 1111 1111", True), ("378282246310005", True), ("6011-1111-1111-1117", True), ("4222222222222", True),
     ("4111 1111 1111 1112", False), ("0000000000000000", False), ("1764000000000", False),
     ("9111111111111111", False)],
)  # fmt: skip
def test_card_numbers_have_an_issuer_and_a_check_digit(number: str, is_card: bool) -> None:
    """The Luhn formula and the first digits decide."""
    assert is_card_number(number) is is_card


def test_digits_inside_a_longer_word_are_no_card() -> None:
    """Hexadecimal ids and UUIDs may hold the digits of a card."""
    for text in ("a4111111111111111", "4111111111111111f", "4111-1111-1111-1111-1111-11111111"):
        assert redact_text(text) == text


def test_numbers_are_secret_only_behind_passwords() -> None:
    """A count of tokens is a number behind a key with `token`."""
    assert is_secret_even_as_number("db.password")
    assert not is_secret_even_as_number("login.token")


def test_further_words_are_seen() -> None:
    """Blocked keys join the look over the bytes."""
    assert may_hold_secrets(b"x customer.IBAN y", (folded_key("customer.IBAN"),))
    assert not may_hold_secrets(b"x y", (folded_key("customer.IBAN"),))


@pytest.mark.parametrize(
    "text",
    [
        *("cookie: " * 20_000, "token= " * 20_000, "token" + " " * 100_000, "eyJ" * 40_000, "://a:" * 20_000),
        *("bearer " * 20_000, "-----BEGIN PRIVATE KEY-----" * 4_000, "password: '" * 10_000, "4" * 100_000),
        *("1 " * 50_000, "@" * 100_000, "://@/" * 20_000, "4-" * 50_000),
    ],
    ids=lambda text: text[:12],
)
@pytest.mark.timeout(10)
def test_no_text_makes_redaction_slow(text: str) -> None:
    """Time grows with the length of a text, not with its square."""
    assert len(redact_text(text)) <= len(text) + 9 * text.count("=") + 20
