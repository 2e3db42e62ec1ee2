"""A question sees one state of the store, though segments come and go meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from builders import SECOND, make_batch, make_span

from apm_store.api import Store, StoreError
from apm_store.model import Signal
from apm_store.open import open_store
from apm_store.query import TimeRange, TraceQuery
from apm_store.sqlite.bodies import MAX_INT
from apm_store.sqlite.reader import Reader
from apm_store.sqlite.writer import Writer

RANGE = TimeRange(0, 2**63)


@pytest.fixture
def segmented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store with traces 1 to 3, each in a segment of its own."""
    monkeypatch.setattr("apm_store.sqlite.store._open_writer", lambda data_dir, *_: Writer(data_dir, segment_bytes=1))
    store = open_store(tmp_path / "data")
    for trace in (1, 2, 3):
        store.traces.write(make_batch([make_span(f"GET /{trace}", trace=trace, start_ns=trace * SECOND)]))
    store.stats()
    yield store
    store.close()


@pytest.fixture
def reader(segmented: Store, tmp_path: Path) -> Iterator[Reader]:
    """Reads the store with the three segments."""
    opened = Reader(tmp_path / "data", 5.0)
    yield opened
    opened.close()


def test_segments_come_newest_first(reader: Reader) -> None:
    """Only those that may hold items of the signal in the range are opened."""
    with reader.snapshot() as snapshot:
        all_ids = [segment.segment_id for segment in snapshot.segments(0, MAX_INT, Signal.TRACES)]
        some_ids = [segment.segment_id for segment in snapshot.segments(2 * SECOND, 2 * SECOND, Signal.TRACES)]
        no_ids = [segment.segment_id for segment in snapshot.segments(0, MAX_INT, Signal.LOGS)]

    assert (all_ids, some_ids, no_ids) == ([3, 2, 1], [2], [])


def test_a_block_is_read_once_in_a_question(reader: Reader) -> None:
    """What a question needs again is not read again, be the block still open."""
    with reader.snapshot() as snapshot:
        heads = [head for segment in snapshot.segments(0, MAX_INT, Signal.TRACES) for head in segment.block_heads()]
        once, again = ([snapshot.block(head) for head in heads] for _ in range(2))

    assert any(head.is_open for head in heads)
    assert list(map(id, once)) == list(map(id, again))


def test_a_removed_segment_is_left_out(segmented: Store, tmp_path: Path) -> None:
    """A segment whose directory is gone has no traces; the others answer as before."""
    before = segmented.traces.find(TraceQuery(RANGE))
    shutil.rmtree(tmp_path / "data" / "segments" / "000002")

    after = segmented.traces.find(TraceQuery(RANGE))

    assert after.traces == (before.traces[0], before.traces[2])
    assert segmented.traces.get(f"{2:032x}") == []


def test_a_question_outlives_the_removal_of_its_segment(reader: Reader, tmp_path: Path) -> None:
    """A segment that was opened is readable until the question ends, and is let go of afterwards."""
    directory = tmp_path / "data" / "segments" / "000002"
    with reader.snapshot() as snapshot:
        segment = snapshot.segments(0, MAX_INT, Signal.TRACES)[1]
        shutil.rmtree(directory)
        assert segment.block_heads()
        assert segment.body(1)

    assert not any(str(directory) in file.path for file in psutil.Process().open_files())


def test_what_is_stored_meanwhile_is_not_seen(segmented: Store, reader: Reader) -> None:
    """A snapshot keeps the blocks that it began with; the next one sees more."""
    with reader.snapshot() as snapshot:
        before = snapshot.segments(0, MAX_INT, Signal.TRACES)
        segmented.traces.write(make_batch([make_span("GET /4", trace=4, start_ns=4 * SECOND)]))
        segmented.stats()
        assert snapshot.segments(0, MAX_INT, Signal.TRACES)[-3:] == before

    with reader.snapshot() as snapshot:
        assert len(snapshot.segments(0, MAX_INT, Signal.TRACES)) == 4


def test_a_segment_that_cannot_be_read_is_named(reader: Reader, tmp_path: Path) -> None:
    """An index that is no database is an error that says which file it is."""
    index = tmp_path / "data" / "segments" / "000001" / "index.db"
    broken = index.with_name("broken")
    broken.write_bytes(b"no database" * 1000)
    broken.replace(index)

    with pytest.raises(StoreError, match=r"index\.db"), reader.snapshot() as snapshot:
        snapshot.segments(0, MAX_INT, Signal.TRACES)
