"""The blocks that are kept take a bounded amount of memory."""

from __future__ import annotations

import pytest

from apm_store.sqlite import block_cache
from apm_store.sqlite.block import Block, BlockSpan, pack_block
from apm_store.sqlite.block_cache import BlockCache


def _block(span_count: int) -> Block:
    span = BlockSpan(bytes(16), bytes(8), bytes(8), 1, 1, 1, 1, 1, 0, 0, 0, True, 1)
    return Block(pack_block([span] * span_count))


def test_the_block_that_was_not_used_for_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for two blocks, of three the one that was read or added last and the one asked for since are kept."""
    monkeypatch.setattr(block_cache, "CACHE_BYTES", 2 * block_cache._size(_block(10)))
    cache = BlockCache()
    blocks = [_block(10) for _ in range(3)]
    cache.add((1, 0, 1), blocks[0])
    cache.add((1, 0, 2), blocks[1])
    cache.get((1, 0, 1))

    cache.add((1, 0, 3), blocks[2])

    assert [cache.get((1, 0, number)) for number in (1, 2, 3)] == [blocks[0], None, blocks[2]]


def test_a_block_that_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block larger than all the room there is leaves the cache empty."""
    monkeypatch.setattr(block_cache, "CACHE_BYTES", 1)
    cache = BlockCache()

    cache.add((1, 0, 1), _block(10))

    assert cache.get((1, 0, 1)) is None


def test_adding_a_block_twice_counts_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that read the same block at once do not fill the cache with it."""
    monkeypatch.setattr(block_cache, "CACHE_BYTES", 2 * block_cache._size(_block(10)))
    cache = BlockCache()
    other = _block(10)
    cache.add((1, 0, 2), other)

    for _ in range(3):
        cache.add((1, 0, 1), _block(10))

    assert cache.get((1, 0, 2)) is other
