"""Forgets metric streams of which no data point is left: they are not listed, and have no part in a limit any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from apm_store.sqlite.catalogue import Catalogue
from apm_store.sqlite.connections import connect_reader
from apm_store.sqlite.migrations import SEGMENT
from apm_store.sqlite.segments import SegmentFiles

# From stream to stream by the primary key: to look at all points would take a hundred times as long.
_STREAMS = """
WITH RECURSIVE stream (id) AS (
    SELECT min(stream_id) FROM data_point
    UNION ALL
    SELECT (SELECT min(stream_id) FROM data_point WHERE stream_id > stream.id) FROM stream WHERE stream.id IS NOT NULL
)
SELECT id FROM stream WHERE id IS NOT NULL
"""


def forget_streams(catalogue: Catalogue, data_dir: Path, flush: Callable[[], None]) -> Iterator[None]:
    """Strike the streams from the catalogue that no segment has points of, looking into one segment per step.

    `flush` commits what is indexed. Between two steps others may index, so the segment that is written comes last,
    in one step with the removal.
    """
    used: set[object] = set()
    seen: set[object] = set()
    while True:
        flush()
        held = [one for (one,) in catalogue.rows("SELECT id FROM segment WHERE data_points > 0 ORDER BY id")]
        unseen = [one for one in held if one not in seen]
        for segment_id in unseen[:1]:
            used |= _streams_of(data_dir, int(str(segment_id)))
            seen.add(segment_id)
        if len(unseen) <= 1:
            _forget_all_but(catalogue, used)
            return
        yield


def _streams_of(data_dir: Path, segment_id: int) -> set[int]:
    with closing(connect_reader(SegmentFiles(data_dir, segment_id).index, SEGMENT)) as index:
        return {stream_id for (stream_id,) in index.execute(_STREAMS)}


def _forget_all_but(catalogue: Catalogue, used: set[object]) -> None:
    streams = catalogue.rows("SELECT id FROM metric_stream")
    gone = [row for row in streams if row[0] not in used]
    if gone:
        catalogue.begin()
        catalogue.connection.executemany("DELETE FROM metric_stream WHERE id = ?", gone)
        catalogue.connection.execute("UPDATE applied SET version = version + 1")
        catalogue.connection.execute("COMMIT")
        catalogue.names.clear()
