"""The segments of a store: directories that each hold the log of some raw data and the index over it.

A segment is begun every day, and when the last one has grown large; so raw data is removed by removing directories.
Traces that outlive their segment are copied into kept segments, which have negative ids: they stand before all others
in time, and nothing that counts segments or follows the log meets them.
"""

from __future__ import annotations

import os
from pathlib import Path

CATALOGUE_NAME = "spanwise.db"
"""The file of the data directory that tells of all segments."""

_DIRECTORY = "segments"
_KEPT = "kept-"
_DROPPED = "dropped-"


class SegmentFiles:
    """Where a segment lies."""

    def __init__(self, data_dir: Path, segment_id: int) -> None:
        self.segment_id = segment_id
        name = f"{segment_id:06}" if segment_id > 0 else f"{_KEPT}{-segment_id:06}"
        self.directory = data_dir / _DIRECTORY / name

    @property
    def log(self) -> Path:
        """The bodies as they were received."""
        return self.directory / "bodies.log"

    @property
    def index(self) -> Path:
        """The database that leads to them."""
        return self.directory / "index.db"


def segment_ids(data_dir: Path) -> list[int]:
    """The ids of all segments that lie in the data directory, oldest first; kept ones are left out."""
    parent = data_dir / _DIRECTORY
    return sorted(int(path.name) for path in parent.glob("[0-9]*") if path.name.isdecimal() and path.is_dir())


def kept_ids(data_dir: Path) -> list[int]:
    """The ids of all kept segments, oldest first: -1, -2, and so on."""
    names = (path.name.removeprefix(_KEPT) for path in (data_dir / _DIRECTORY).glob(f"{_KEPT}*") if path.is_dir())
    return sorted((-int(name) for name in names if name.isdecimal()), reverse=True)


def mark_dropped(files: SegmentFiles, reason: str) -> Path:
    """Take a segment away from all who look for it, for good: give its directory another name, durably."""
    target = files.directory.with_name(f"{_DROPPED}{reason}-{files.directory.name}")
    files.directory.rename(target)
    sync_directory(target.parent)
    return target


def dropped(data_dir: Path) -> list[tuple[int, str, Path]]:
    """The segments that are dropped but still lie there: id, reason, directory."""
    found = []
    for path in sorted((data_dir / _DIRECTORY).glob(f"{_DROPPED}*")):
        reason, _, name = path.name.removeprefix(_DROPPED).partition("-")
        sign = -1 if name.startswith(_KEPT) else 1
        found.append((sign * int(name.removeprefix(_KEPT)), reason, path))
    return found


def directory_bytes(directory: Path) -> int:
    """The size of the files in a directory; 0 when it is gone."""
    try:
        return sum(map(size_of, directory.iterdir()))
    except FileNotFoundError:
        return 0


def segment_directories(data_dir: Path) -> list[Path]:
    """The directories of all segments, also of those that are kept or are being dropped."""
    parent = data_dir / _DIRECTORY
    return list(parent.iterdir()) if parent.exists() else []


def size_of(path: Path) -> int:
    """The size of a file; 0 when it is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
