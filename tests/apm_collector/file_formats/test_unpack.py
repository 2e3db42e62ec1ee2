"""Compressed files are told by their content, and bombs are not followed."""

from __future__ import annotations

import bz2
import gzip
import io
import tracemalloc

import pytest

from apm_collector.file_formats.contents import FileFormatError
from apm_collector.file_formats.unpack import open_unpacked, zstd

TEXT = b"".join(b"line %d of the file\n" % number for number in range(10_000))
MIB = 1024 * 1024


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress], ids=["plain", "gzip", "zstd"])
def test_content_comes_out_whatever_it_is_packed_in(pack: object) -> None:
    """Plain, gzip and Zstandard files give the same bytes."""
    stream = open_unpacked(io.BytesIO(pack(TEXT)))  # type: ignore[operator]

    assert stream.read() == TEXT


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_parts_behind_each_other_are_all_read(pack: object) -> None:
    """A file that was appended to holds several members or frames."""
    packed = pack(b"one ") + pack(b"two")  # type: ignore[operator]

    assert open_unpacked(io.BytesIO(packed)).read() == b"one two"


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_a_cut_file_says_so(pack: object) -> None:
    """A compressed file that ends too early is a fault with words, not an EOFError."""
    packed = pack(TEXT)[:-20]  # type: ignore[operator]

    with pytest.raises(FileFormatError, match=r"ends too early|damaged"):
        open_unpacked(io.BytesIO(packed)).read()


def test_damaged_gzip_says_so() -> None:
    """A wrong checksum is a fault with words."""
    packed = bytearray(gzip.compress(TEXT))
    packed[-6] ^= 0xFF

    with pytest.raises(FileFormatError, match="damaged"):
        open_unpacked(io.BytesIO(bytes(packed))).read()


@pytest.mark.parametrize("level", ["gzip", "zstd"])
def test_a_bomb_is_left_alone(level: str) -> None:
    """A file that unfolds to more than 500 times its size is given up soon, in little memory."""
    zeros = bytes(200 * MIB)
    packed = gzip.compress(zeros, 9) if level == "gzip" else zstd.compress(zeros)
    del zeros
    stream = open_unpacked(io.BytesIO(packed))
    tracemalloc.start()
    count = 0

    with pytest.raises(FileFormatError, match="500 times"):
        while part := stream.read(64 * 1024):
            count += len(part)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count <= 65 * MIB
    assert peak < 8 * MIB


def test_other_compressions_stay_packed() -> None:
    """What is neither gzip nor Zstandard is handed on as it is."""
    packed = bz2.compress(TEXT)

    assert open_unpacked(io.BytesIO(packed)).read() == packed
