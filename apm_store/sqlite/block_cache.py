"""Keeps the blocks that were read last, unpacked: the newest ones are asked for again and again."""

from __future__ import annotations

import threading
from collections import OrderedDict

from apm_store.sqlite.block import Block

CACHE_BYTES = 8 * 1024 * 1024
"""How much memory the kept blocks may take."""

Key = tuple[int, int, int]
"""Id of the segment, identity of its index, id of the block."""


class BlockCache:
    """The full blocks used last, which never change; safe from many threads."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[Key, Block] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Key) -> Block | None:
        """A block, if it is kept."""
        with self._lock:
            block = self._blocks.get(key)
            if block is not None:
                self._blocks.move_to_end(key)
            return block

    def add(self, key: Key, block: Block) -> None:
        """Keep a block; those that were not used for the longest time make room."""
        with self._lock:
            if key not in self._blocks:
                self._blocks[key] = block
                self._bytes += _size(block)
            while self._bytes > CACHE_BYTES:
                _, dropped = self._blocks.popitem(last=False)
                self._bytes -= _size(dropped)


def _size(block: Block) -> int:
    return len(block.start_ns.obj) + len(block.trace_ids)  # every column is a part of one string of bytes
