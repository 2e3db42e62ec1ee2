"""The history of accepted configurations."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from apm_collector.config_history import MAX_CHECKPOINTS, ConfigHistory, HistoryError, hash_of, write_atomically

FILE = Path("/etc/collector.yaml")


@pytest.fixture
def history(tmp_path: Path) -> ConfigHistory:
    """An empty history."""
    return ConfigHistory(tmp_path / "config")


def test_accepted_texts_are_kept_byte_for_byte(history: ConfigHistory) -> None:
    """Also line ends, comments and characters that YAML would write otherwise."""
    texts = [b"a: 1\r\n# gr\xc3\xbcn\n\n", b"\xef\xbb\xbfa: 1", b"x" * 200_000]

    found = [history.accept(text, FILE) for text in texts]

    assert [one.number for one in found] == [1, 2, 3]
    assert history.checkpoints() == found
    assert [history.text(number) for number in (1, 2, 3)] == texts
    assert [one.sha256 for one in found] == [hash_of(text) for text in texts]


def test_the_same_text_twice_in_a_row_is_one_checkpoint(history: ConfigHistory) -> None:
    """It is another one after something else was in between; where it came from last is kept up to date."""
    history.accept(b"a", FILE)
    history.accept(b"a", Path("/other.yaml"))
    files = [one.file for one in history.checkpoints()]
    history.accept(b"b", FILE)
    history.accept(b"a", FILE)

    assert files == ["/other.yaml"]
    assert [one.number for one in history.checkpoints()] == [1, 2, 3]


def test_an_empty_history_says_so(history: ConfigHistory) -> None:
    """Nothing was accepted, and nothing can be shown."""
    assert history.checkpoints() == []
    with pytest.raises(HistoryError, match=r"no checkpoint 1 .*none yet"):
        history.text(1)


def test_an_unknown_number_is_named(history: ConfigHistory) -> None:
    """The message says which numbers there are."""
    history.accept(b"a", FILE)
    history.accept(b"b", FILE)

    with pytest.raises(HistoryError, match=r"no checkpoint 7 .* 1 to 2"):
        history.text(7)


def test_a_changed_or_lost_text_is_not_given(history: ConfigHistory, tmp_path: Path) -> None:
    """What was not accepted is not passed off as accepted; the next acceptance of the same text keeps it anew."""
    history.accept(b"a", FILE)
    path = tmp_path / "config" / "0001.yaml"
    path.write_bytes(b"b")

    with pytest.raises(HistoryError, match="was changed"):
        history.text(1)
    path.unlink()
    with pytest.raises(HistoryError, match="cannot be read"):
        history.text(1)
    assert history.text(history.accept(b"a", FILE).number) == b"a"


@pytest.mark.parametrize("index", [b"", b"[{", b"null", b'[{"number": 1}]', b'{"a": 1}', bytes(100)])
def test_a_broken_index_is_set_aside(index: bytes, history: ConfigHistory, tmp_path: Path) -> None:
    """It is not deleted, the texts stay, and numbers go on behind them."""
    history.accept(b"a", FILE)
    (tmp_path / "config" / "index.json").write_bytes(index)
    with pytest.raises(HistoryError, match=r"index\.json cannot be read"):
        history.checkpoints()

    again = history.accept(b"b", FILE)

    assert again.number == 2
    assert (tmp_path / "config" / "0001.yaml").read_bytes() == b"a"
    assert [path.read_bytes() for path in (tmp_path / "config").glob("index.json.corrupt-*")] == [index]


def test_the_history_is_bounded(history: ConfigHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the oldest checkpoints go, texts and all."""
    monkeypatch.setattr("apm_collector.config_history.MAX_CHECKPOINTS", 5)

    for number in range(8):
        history.accept(b"%d" % number, FILE)

    assert [one.number for one in history.checkpoints()] == [4, 5, 6, 7, 8]
    assert sorted(path.stem for path in (tmp_path / "config").glob("*.yaml")) == [
        "0004",
        "0005",
        "0006",
        "0007",
        "0008",
    ]
    assert MAX_CHECKPOINTS == 500


def test_files_are_their_owners_alone(history: ConfigHistory, tmp_path: Path) -> None:
    """A configuration may hold credentials: directory 0700, files 0600."""
    history.accept(b"a", FILE)

    assert stat.S_IMODE((tmp_path / "config").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "config").iterdir()} == {0o600}


def test_a_kill_between_text_and_index_leaves_the_old_history(history: ConfigHistory, tmp_path: Path) -> None:
    """A text that the index does not name is unknown, and its number is given again."""
    history.accept(b"a", FILE)
    write_atomically(tmp_path / "config" / "0002.yaml", b"never accepted")

    newest = history.accept(b"b", FILE)

    assert newest.number == 2
    assert history.text(2) == b"b"


def test_a_kill_at_any_moment_leaves_a_whole_history(tmp_path: Path) -> None:
    """After kill -9 at random moments every checkpoint in the index has its text, and more can be accepted."""
    program = textwrap.dedent(f"""
        from itertools import count
        from pathlib import Path
        from apm_collector.config_history import ConfigHistory
        history = ConfigHistory(Path({str(tmp_path / "config")!r}))
        history.accept(b"start", Path("f"))
        print("on", flush=True)
        for number in count():
            history.accept(b"%d" % number * 1000, Path("f"))
    """)
    history = ConfigHistory(tmp_path / "config")
    numbers = []
    for _ in range(6):
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(random.uniform(0, 0.1))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        checkpoints = history.checkpoints()
        for one in checkpoints:
            assert hash_of(history.text(one.number)) == one.sha256
        numbers.append(checkpoints[-1].number)

    assert numbers == sorted(numbers)
    assert history.accept(b"after", FILE).number == numbers[-1] + 1
    assert list((tmp_path / "config").glob(".*")) == []


def test_two_writers_leave_one_of_two_texts(tmp_path: Path) -> None:
    """Whoever reads while two threads write over each other finds one text or the other, whole."""
    path = tmp_path / "c.yaml"
    texts = [b"a" * 100_000, b"b" * 90_000]
    write_atomically(path, texts[0])
    stop = threading.Event()

    def write(text: bytes) -> None:
        while not stop.is_set():
            write_atomically(path, text)

    writers = [threading.Thread(target=write, args=(text,)) for text in texts]
    for writer in writers:
        writer.start()
    found = {path.read_bytes() for _ in range(300)}
    stop.set()
    for writer in writers:
        writer.join()

    assert found <= set(texts)
    assert [one.name for one in tmp_path.iterdir()] == ["c.yaml"]


def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    """A user's file that a group may read stays so; a new file is its owner's alone."""
    shared, new = tmp_path / "shared.yaml", tmp_path / "new.yaml"
    shared.write_bytes(b"old")
    shared.chmod(0o640)
    former = os.umask(0)

    try:
        write_atomically(shared, b"text")
        write_atomically(new, b"text")
    finally:
        os.umask(former)

    assert [stat.S_IMODE(path.stat().st_mode) for path in (shared, new)] == [0o640, 0o600]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing half-written and no scrap stays."""
    path = tmp_path / "c.yaml"
    path.write_bytes(b"old")

    def fail(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")

    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["c.yaml"]


def test_the_index_can_be_read_by_a_person(history: ConfigHistory, tmp_path: Path) -> None:
    """One line per checkpoint, as JSON."""
    history.accept(b"a", FILE)
    history.accept(b"b", FILE)

    lines = (tmp_path / "config" / "index.json").read_text().splitlines()

    assert len(lines) == 4
    assert json.loads(lines[1].rstrip(","))["file"] == str(FILE)
