"""gzip bodies, whole and broken, small and swelling."""

from __future__ import annotations

import gzip

import pytest

from apm_collector.errors import PermanentError, TooLargeError
from apm_collector.inflate import inflate


def test_all_members_of_a_gzip_body_are_used() -> None:
    """A body of two members gives both parts, as RFC 1952 has it."""
    assert inflate(gzip.compress(b"one ") + gzip.compress(b"two"), 100) == b"one two"


@pytest.mark.parametrize("size", [0, 99, 100])
def test_a_body_up_to_the_limit_is_inflated(size: int) -> None:
    """The limit itself is allowed."""
    assert inflate(gzip.compress(b"x" * size), 100) == b"x" * size


@pytest.mark.parametrize(
    "body", [gzip.compress(b"x" * 101), gzip.compress(b"x" * 60) * 2], ids=["one member", "two members"]
)
def test_a_body_over_the_limit_is_too_large(body: bytes) -> None:
    """The limit counts what all members give together."""
    with pytest.raises(TooLargeError, match="100 bytes after decompression"):
        inflate(body, 100)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"plain", "gzip: invalid header"),
        (b"", "gzip: the body ends too early"),
        (gzip.compress(b"x" * 50)[:-9], "gzip: the body ends too early"),
        (gzip.compress(b"x")[:-8] + bytes(8), "gzip: wrong checksum"),
        (gzip.compress(b"x") + b"junk!", "gzip: invalid header"),
        (gzip.compress(b"") * 101, "gzip: more than 100 members"),
    ],
    ids=["plain", "empty", "cut off", "wrong checksum", "followed by junk", "too many members"],
)
def test_a_broken_body_is_refused_with_its_fault(body: bytes, problem: str) -> None:
    """What is not whole gzip is named, and nothing of it is used."""
    with pytest.raises(PermanentError, match=problem):
        inflate(body, 1000)


def test_memory_is_asked_for_before_it_is_used() -> None:
    """The sizes that are announced cover what comes out, and never much more; few steps lead there."""
    plain = bytes(1_000_000)
    asked: list[int] = []

    assert inflate(gzip.compress(plain), 2_000_000, asked.append) == plain

    assert len(plain) <= asked[-1] <= 2 * len(plain) + 100_000
    assert asked == sorted(asked)
    assert len(asked) < 12


def test_a_refusal_of_memory_ends_it() -> None:
    """Nothing more is inflated than was allowed."""

    def refuse(size: int) -> None:
        if size > 50_000:
            raise MemoryError

    with pytest.raises(MemoryError):
        inflate(gzip.compress(bytes(1_000_000)), 2_000_000, refuse)
