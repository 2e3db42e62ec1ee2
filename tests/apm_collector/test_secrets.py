"""The look over the bytes never misses what the look at the text finds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        "1 " * 50_000,
    ],
    ids=lambda text: text[:12],
)
@pytest.mark.timeout(10)
def test_no_text_makes_redaction_slow(text: str) -> None:
    """Time grows with the length of a text, not with its square."""
    assert len(redact_text(text)) <= len(text) + 9 * text.count("=") + 20
