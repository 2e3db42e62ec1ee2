"""The process that indexes under load: `python -m apm_store.sqlite.follow_log FD`, started by `IndexProcess`.

It ends at once when the process that started it is gone: the log holds everything.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection

from apm_store.sqlite.body_indexer import Position
from apm_store.sqlite.body_log import LogReader
from apm_store.sqlite.disk_guard import DiskGuard
from apm_store.sqlite.index_process import Handover, News
from apm_store.sqlite.indexer import Indexer, Waiting
from apm_store.sqlite.retention import Upkeep
from apm_store.sqlite.segments import SegmentFiles, segment_ids

_POLL_S = 0.05


class _Follower(Indexer):
    """An indexer that reads the log of another process's writer, and leaves every fault to that process."""

    def first_undone(self) -> int:
        """The first segment that may not be dropped: of the last one known, the writer may know more."""
        return min(super().first_undone(), self._put[0])

    @property
    def committed(self) -> Position:
        """The last body that can be found."""
        return self._committed

    @property
    def has_ended(self) -> bool:
        """Whether there was a fault."""
        return not self._thread.is_alive()

    def _recover(self, is_corrupt: bool) -> bool:  # noqa: ARG002 – it opens nothing anew
        return False


class _Log:
    """Where the log of a data directory is read on."""

    def __init__(self, handover: Handover) -> None:
        self._data_dir = handover.data_dir
        self._at = handover.until
        self._offset = -1
        self._reader: LogReader | None = None

    def bodies(self, until: Position) -> Iterator[Waiting]:
        """The bodies behind those that were given before, up to `until`."""
        for segment_id in [one for one in segment_ids(self._data_dir) if self._at[0] <= one <= until[0]]:
            if self._reader is None or segment_id > self._at[0]:
                self._open(segment_id)
            assert self._reader is not None
            for frame in self._reader.headers(self._offset):
                if (segment_id, frame.seq) > until:
                    return
                self._offset = frame.offset + frame.length
                if (segment_id, frame.seq) > self._at:
                    self._at = (segment_id, frame.seq)
                    yield Waiting(segment_id, frame)

    def _open(self, segment_id: int) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader, self._offset = LogReader(SegmentFiles(self._data_dir, segment_id).log), 0
        self._at = max(self._at, (segment_id, 0))


def main() -> None:
    """Index until told to stop, and give back what waits for more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the whole group; the collector says when to stop
    gc.set_threshold(50_000, 20, 100)  # spans live long, in no cycles: to look through them again finds nothing
    link = Connection(int(sys.argv[1]))
    try:
        _serve(link)
    except (EOFError, OSError):
        os._exit(1)


def _serve(link: Connection) -> None:
    handover: Handover = link.recv()
    guard = DiskGuard(handover.data_dir)
    upkeep = Upkeep(handover.data_dir, handover.retention, guard)
    indexer = _Follower(handover.data_dir, upkeep, guard, may_hand_over=False)
    indexer.catalogue.go_on_with(handover.edges)
    indexer.start(handover.until)
    log, said = _Log(handover), News((0, 0), is_segment_wanted=False)
    while not indexer.has_ended:
        if link.poll(_POLL_S):
            until = link.recv()
            if until is None:
                _stop(link, indexer)
                return
            if waiting := list(log.bodies(until)):
                indexer.put(waiting)
        news = News(indexer.committed, upkeep.is_segment_wanted)
        if news != said:
            link.send(news)
            said, upkeep.is_segment_wanted = news._replace(is_segment_wanted=False), False
    os._exit(1)


def _stop(link: Connection, indexer: _Follower) -> None:
    """Index what waits; ends at once when the other process is gone meanwhile."""
    threading.Thread(target=_end_with, args=(link,), daemon=True).start()
    edges = indexer.catalogue.edges
    indexer.close()
    link.send(edges)


def _end_with(link: Connection) -> None:
    link.poll(None)
    os._exit(1)


if __name__ == "__main__":
    main()
