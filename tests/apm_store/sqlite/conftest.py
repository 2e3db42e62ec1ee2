"""A store whose raw data lies in many segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from apm_store.api import Store
from apm_store.model import Batch
from apm_store.open import open_store
from apm_store.sqlite.writer import Writer


@pytest.fixture
def in_segments(tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """Writes each batch into a segment of its own, and opens the store for reading."""
    with ExitStack() as stack:

        def write(*batches: Batch) -> Store:
            writer = Writer(tmp_path / "segmented", segment_bytes=1)
            for batch in batches:
                writer.write(batch)
            writer.close()
            store = open_store(tmp_path / "segmented", read_only=True)
            stack.callback(store.close)
            return store

        yield write
