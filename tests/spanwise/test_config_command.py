"""`spanwise config`: validate, history, show, rollback."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builders import make_request, make_span
from stack import Stack, wait_for

from apm_collector.config_history import ConfigHistory
from spanwise.cli import main
from spanwise.settings import default_config_file

GOOD = default_config_file().read_bytes()
BODY = make_request([make_span("op")]).SerializeToString()
Spanwise = Callable[..., int]


@pytest.fixture
def spanwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spanwise]:
    """Run `spanwise config …` on the test's data directory."""
    monkeypatch.delenv("SPANWISE_CONFIG", raising=False)

    def run(*argv: object, data: Path = tmp_path / "data") -> int:
        return main(["config", *map(str, argv), "--data", str(data)])

    (tmp_path / "data").mkdir()
    yield run


@pytest.fixture
def history(tmp_path: Path) -> ConfigHistory:
    """The history of the test's data directory."""
    return ConfigHistory(tmp_path / "data" / "config")


def test_a_valid_file_is_said_to_be_valid(spanwise: Spanwise, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Both the file that is named and the one in use."""
    path = tmp_path / "c.yaml"
    path.write_bytes(GOOD)

    assert spanwise("validate", path) == 0
    assert spanwise("validate") == 0
    assert capsys.readouterr().out == f"{path} is valid.\n{default_config_file()} is valid.\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "the file is missing or empty"),
        (GOOD[:300], ""),
        (b"receivers: [", "line"),
        (GOOD.replace(b"endpoint", b"endpiont"), "receivers.otlp.protocols.grpc.endpiont"),
        (GOOD.replace(b"[store]", b"store"), "service.pipelines.traces.exporters"),
        (b"\xff", "UTF-8"),
        (b"\x1b", "special characters"),
    ],
)
def test_a_bad_file_is_named_with_its_key(
    text: bytes, message: str, spanwise: Spanwise, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Exit status 1 and one line on stderr."""
    path = tmp_path / "c.yaml"
    path.write_bytes(text)

    status = spanwise("validate", path)

    error = capsys.readouterr().err
    assert status == 1
    assert error.startswith(f"spanwise: {path}: ")
    assert error.count("\n") == 1
    assert message in error


def test_a_missing_file_is_not_valid(spanwise: Spanwise, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The message says that it cannot be read."""
    assert spanwise("validate", tmp_path / "none.yaml") == 1
    assert "none.yaml: cannot be read: No such file" in capsys.readouterr().err


def test_the_history_lists_what_was_accepted(
    spanwise: Spanwise, history: ConfigHistory, capsys: pytest.CaptureFixture
) -> None:
    """Number, time, hash and file, the one in use marked."""
    spanwise("history")
    history.accept(b"a", Path("/c.yaml"))
    second = history.accept(b"b", Path("/c.yaml"))

    assert spanwise("history") == 0
    none, first_line, second_line = capsys.readouterr().out.splitlines()
    assert "No configuration was accepted" in none
    assert first_line.split()[0] == "1"
    assert "in use" not in first_line
    assert second_line.split()[0] == "2"
    assert second.sha256[:12] in second_line
    assert second_line.endswith("/c.yaml  ← in use")


def test_show_prints_the_text_byte_for_byte(
    spanwise: Spanwise, history: ConfigHistory, capfdbinary: pytest.CaptureFixture
) -> None:
    """What it prints can be written to a file."""
    history.accept(b"a: 1\r\n", Path("/c.yaml"))

    assert spanwise("show", 1) == 0
    assert capfdbinary.readouterr().out == b"a: 1\r\n"


@pytest.mark.parametrize("action", ["show", "rollback"])
def test_an_unknown_checkpoint_is_an_error(action: str, spanwise: Spanwise, capsys: pytest.CaptureFixture) -> None:
    """Exit status 1 and one line."""
    assert spanwise(action, 3) == 1
    assert "There is no checkpoint 3" in capsys.readouterr().err


def test_a_rollback_restores_the_file_byte_for_byte(
    spanwise: Spanwise, history: ConfigHistory, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A hundred times back and forth; the file keeps its mode and nothing else is left behind."""
    (tmp_path / "etc").mkdir()
    path = tmp_path / "etc" / "c.yaml"
    texts = {1: GOOD, 2: b"# other\r\n" + GOOD}
    path.write_bytes(GOOD)
    path.chmod(0o644)
    for text in texts.values():
        history.accept(text, path)

    for number in range(100):
        assert spanwise("rollback", 1 + number % 2, "--config", path) == 0
        assert path.read_bytes() == texts[1 + number % 2]

    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [one.name for one in path.parent.iterdir()] == ["c.yaml"]
    assert "it starts with this configuration" in capsys.readouterr().out


def test_a_rollback_finds_the_file_that_was_in_use(spanwise: Spanwise, history: ConfigHistory, tmp_path: Path) -> None:
    """Without a flag it is the one that the last configuration came from; a link is followed, not replaced."""
    (tmp_path / "real.yaml").write_bytes(b"broken: [")
    (tmp_path / "link.yaml").symlink_to(tmp_path / "real.yaml")
    history.accept(GOOD, tmp_path / "link.yaml")

    assert spanwise("rollback", 1) == 0
    assert (tmp_path / "link.yaml").is_symlink()
    assert (tmp_path / "real.yaml").read_bytes() == GOOD


def test_the_file_that_comes_with_spanwise_is_never_changed(
    spanwise: Spanwise, history: ConfigHistory, tmp_path: Path
) -> None:
    """The data directory gets a file of its own, which is in use from then on."""
    before = default_config_file().read_bytes()
    other = b"# other\n" + GOOD
    history.accept(other, default_config_file())
    history.accept(GOOD, default_config_file())

    assert spanwise("rollback", 1) == 0
    assert default_config_file().read_bytes() == before
    assert (tmp_path / "data" / "collector.yaml").read_bytes() == other
    assert stat.S_IMODE((tmp_path / "data" / "collector.yaml").stat().st_mode) == 0o600


def test_what_is_valid_no_longer_is_not_put_back(
    spanwise: Spanwise, history: ConfigHistory, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A checkpoint with a key that this version does not know stays a checkpoint; the file stays as it is."""
    path = tmp_path / "c.yaml"
    path.write_bytes(GOOD)
    history.accept(b"old_key: 1", path)

    assert spanwise("rollback", 1, "--config", path) == 1
    assert "Checkpoint 1 cannot be used any more" in capsys.readouterr().err
    assert path.read_bytes() == GOOD


def test_a_file_that_cannot_be_written_is_an_error(
    spanwise: Spanwise, history: ConfigHistory, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Exit status 1, naming the file."""
    history.accept(GOOD, tmp_path / "gone" / "c.yaml")

    assert spanwise("rollback", 1) == 1
    assert f"{tmp_path / 'gone' / 'c.yaml'} cannot be written: No such file" in capsys.readouterr().err


def test_a_running_stack_takes_changes_and_rollbacks(
    spanwise: Spanwise, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    """A change is in use within 5 s, a bad one is refused and shown, and a rollback restores behaviour within 5 s."""
    data_dir = tmp_path / "data"
    config = tmp_path / "c.yaml"
    config.write_bytes(GOOD)
    traces_only = GOOD[: GOOD.index(b"    metrics:")]

    with Stack(data_dir, "--config", str(config)).start() as stack:
        assert stack.send("logs", b"")[0] == 200
        config.write_bytes(traces_only)
        wait_for(lambda: stack.send("logs", b"")[0] == 404, 5, "the change is in use")
        config.write_bytes(b"receivers: [")
        time.sleep(1.5)
        statuses = [stack.send("logs", b"")[0], stack.send("traces", BODY)[0]]
        started_s = time.monotonic()
        status = spanwise("rollback", 1)
        took_s = time.monotonic() - started_s
        after = stack.send("logs", b"")[0]
        said = capfd.readouterr().out

    assert statuses == [404, 200]
    assert (status, after) == (0, 200)
    assert took_s < 5
    assert "The collector runs with it, as checkpoint 3." in said
    assert config.read_bytes() == GOOD


def test_a_stack_without_a_file_can_be_rolled_back(spanwise: Spanwise, tmp_path: Path) -> None:
    """The data directory's own file takes the place of the one that comes with Spanwise, while it runs."""
    data_dir = tmp_path / "data"
    history = ConfigHistory(data_dir / "config")
    history.accept(GOOD[: GOOD.index(b"    metrics:")], default_config_file())

    with Stack(data_dir).start() as stack:
        before = stack.send("logs", b"")[0]
        status = spanwise("rollback", 1)
        after = stack.send("logs", b"")[0]

    assert (before, status, after) == (200, 0, 404)
    assert [one.number for one in history.checkpoints()] == [1, 2, 3]


def test_a_collector_that_dies_comes_back_with_what_was_accepted(tmp_path: Path) -> None:
    """Although its file was broken meanwhile."""
    config = tmp_path / "c.yaml"
    config.write_bytes(GOOD)

    with Stack(tmp_path / "data", "--config", str(config)).start() as stack:
        config.write_bytes(b"receivers: [")
        time.sleep(1.5)
        os.kill(stack.child_pids()[0], 9)
        wait_for(lambda: _answers(stack), 15, "the collector is back")

        assert stack.send("traces", BODY)[0] == 200


def _answers(stack: Stack) -> bool:
    try:
        return stack.send("traces", BODY)[0] == 200
    except OSError:
        return False
