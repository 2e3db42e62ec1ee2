"""The databases that the indexer writes: the catalogue, the index of the newest segment, and that of the one before."""

from __future__ import annotations

import time
from pathlib import Path

from apm_store.sqlite.catalogue import Catalogue
from apm_store.sqlite.migrations import SEGMENT
from apm_store.sqlite.recovery import set_aside_catalogue, set_aside_index
from apm_store.sqlite.segment_index import SegmentIndex
from apm_store.sqlite.segments import CATALOGUE_NAME, SegmentFiles
from apm_store.sqlite.wal import shrink_wal, wal_bytes


class OpenDatabases:
    """Opens and closes them; those that are damaged are set aside and begun anew, with a notice."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._current: SegmentIndex | None = None
        self._previous: SegmentIndex | None = None
        self._open_catalogue(is_thorough=False)

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue, for the thread that writes it alone."""
        return self._catalogue

    def check_files(self) -> None:
        """Raise OSError when a database that is open was removed or replaced; SQLite does not always notice."""
        paths = {self._data_dir / CATALOGUE_NAME: self._catalogue.identity}
        if self._current is not None:
            paths[self._current.files.index] = self._current.identity
        for path, identity in paths.items():
            if path.stat().st_ino != identity:
                raise FileNotFoundError(f"{path} was replaced")

    def _open_catalogue(self, *, is_thorough: bool) -> None:
        """Open the catalogue; `is_thorough` when some database is known to be damaged, which may be a large one."""
        said = set_aside_catalogue(self._data_dir / CATALOGUE_NAME, is_thorough=is_thorough)
        self._is_thorough = is_thorough
        self._catalogue = Catalogue(self._data_dir)
        self._note("critical", said)

    def _open_segment(self, segment_id: int) -> None:
        """Make a segment the current one; the one before stays open."""
        if self._previous is not None:
            self._previous.close()
        self._previous, self._current = self._current, None
        self._catalogue.begin()
        files = SegmentFiles(self._data_dir, segment_id)
        self._note("warn", set_aside_index(files.index, SEGMENT, is_thorough=self._is_thorough))
        self._current = SegmentIndex(files)
        self._catalogue.add_segment(segment_id, time.time_ns())

    def _close_segment(self, segment_id: int) -> None:
        """Close a segment, if it is open."""
        if self._current is not None and self._current.files.segment_id == segment_id:
            self._current.close()
            self._current = None
        if self._previous is not None and self._previous.files.segment_id == segment_id:
            self._previous.close()
            self._previous = None

    def _longest_wal(self) -> int:
        """The size of the longer of the write-ahead logs that grow."""
        paths = [self._data_dir / CATALOGUE_NAME]
        if self._current is not None:
            paths.append(self._current.files.index)
        return max(map(wal_bytes, paths))

    def _shrink_wal(self) -> None:
        """Empty the write-ahead logs, unless somebody reads from them; no transaction may be open."""
        for one in (self._catalogue, self._current):
            if one is not None:
                shrink_wal(one.connection)

    def _let_go(self) -> None:
        """Close all; what was not committed is undone."""
        for opened in (self._current, self._previous, self._catalogue):
            if opened is not None:
                opened.close()
        self._current = self._previous = None

    def _note(self, state: str, text: str | None) -> None:
        if text is not None:
            self._catalogue.notice(state, text)
