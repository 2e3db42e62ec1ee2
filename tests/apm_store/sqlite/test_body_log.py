"""The log gives back what was appended, and nothing that was not whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from apm_store.api import StoreError
from apm_store.model import Signal
from apm_store.sqlite.body_log import BodyLog, Frame, LogReader, encode_frame, pack

BODIES = (b"", b"first", b"SWB1" * 50, bytes(range(256)) * 40)


def _written(path: Path) -> list[int]:
    log = BodyLog(path)
    frames = [
        encode_frame(seq, signal, 1_000 + seq, seq * 2, pack(body))
        for seq, (signal, body) in enumerate(zip([*Signal, Signal.LOGS], BODIES, strict=True), 1)
    ]
    offsets = log.append(frames[:2]) + log.append(frames[2:])
    log.close()
    return offsets


def test_frames_are_read_back_as_they_were_appended(tmp_path: Path) -> None:
    """Every field of a frame, and every body, comes back; headers alone tell the same."""
    offsets = _written(tmp_path / "log")
    reader = LogReader(tmp_path / "log")

    frames = [frame for frame in reader.frames() if isinstance(frame, Frame)]
    bodies = [reader.body(frame.offset, frame.length) for frame in frames]
    headers = list(reader.headers(0))
    later = list(reader.frames(offsets[2]))

    reader.close()
    assert [frame.offset for frame in frames] == offsets
    assert [(frame.seq, frame.received_ns, frame.item_count) for frame in frames] == [
        (seq, 1_000 + seq, seq * 2) for seq in range(1, 5)
    ]
    assert [frame.signal for frame in frames] == [*Signal, Signal.LOGS]
    assert tuple(bodies) == BODIES
    assert headers == frames
    assert later == frames[2:]


@pytest.mark.parametrize("at", range(0, 60, 7))
def test_a_damaged_frame_costs_only_itself(tmp_path: Path, at: int) -> None:
    """Whichever byte of the second frame is wrong, the other frames are found, and the gap is told of."""
    offsets = _written(tmp_path / "log")
    data = bytearray((tmp_path / "log").read_bytes())
    place = offsets[1] + at % (offsets[2] - offsets[1])
    data[place] ^= 0xFF
    (tmp_path / "log").write_bytes(data)
    reader = LogReader(tmp_path / "log")

    found = list(reader.frames())
    with pytest.raises(StoreError, match="damaged"):
        reader.body(offsets[1], offsets[2] - offsets[1])

    reader.close()
    assert [frame.seq for frame in found if isinstance(frame, Frame)] == [1, 3, 4]
    assert [gap for gap in found if isinstance(gap, int)] == [offsets[2] - offsets[1]]


def test_a_torn_end_is_not_there(tmp_path: Path) -> None:
    """However much of the last frame is missing, the frames before it are found and nothing else."""
    offsets = _written(tmp_path / "log")
    whole = (tmp_path / "log").read_bytes()
    for size in range(offsets[3], len(whole)):
        (tmp_path / "log").write_bytes(whole[:size])
        reader = LogReader(tmp_path / "log")

        found = list(reader.frames())

        reader.close()
        assert [frame.seq for frame in found if isinstance(frame, Frame)] == [1, 2, 3], size
        assert len(found) == 3
