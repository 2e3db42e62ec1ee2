"""Who may reach the ports."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from spanwise.access import (
    MAX_PEERS,
    MAX_WRONG,
    AccessError,
    Doorkeeper,
    is_loopback,
    new_control_token,
    port_token,
    reachable,
    stored_token,
    token_check,
    with_token,
)
from spanwise.settings import Settings


class _Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def exposed(tmp_path: Path) -> Settings:
    """Settings that open the ports to everybody."""
    return Settings(tmp_path / "data", tmp_path / "c.yaml", tmp_path / "slos", host="0.0.0.0")


@pytest.fixture(params=[0o000, 0o077], ids=["umask 000", "umask 077"])
def umask(request: pytest.FixtureRequest):
    """Run with an umask that lets everything or nothing through."""
    old = os.umask(request.param)
    yield
    os.umask(old)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost", "LOCALHOST"])
def test_loopback_needs_no_token(exposed: Settings, host: str) -> None:
    """On loopback no token is asked for and none is made."""
    settings = replace(exposed, host=host)

    assert is_loopback(host)
    assert (port_token(settings), token_check(settings)) == ("", None)
    assert not settings.data_dir.exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "spanwise", "localhost.example"])
def test_any_other_address_needs_one(exposed: Settings, host: str) -> None:
    """A token is made at the first start, stays the same, and is long."""
    settings = replace(exposed, host=host)

    token = port_token(settings)

    assert len(token) >= 40
    assert port_token(settings) == token == stored_token(settings.data_dir)


def test_auth_none_is_the_word_of_who_knows_the_network(exposed: Settings) -> None:
    """Only the explicit setting opens the ports without a token."""
    assert port_token(replace(exposed, auth="none")) == ""


@pytest.mark.usefixtures("umask")
def test_token_files_are_for_their_owner_alone(exposed: Settings) -> None:
    """Both token files have mode 0600 whatever the umask, and no draft stays behind."""
    port_token(exposed)
    new_control_token(exposed.data_dir)

    modes = {path.name: path.stat().st_mode & 0o777 for path in exposed.data_dir.iterdir()}
    assert modes == {"token": 0o600, "control.token": 0o600}


def test_each_start_has_another_control_token(tmp_path: Path) -> None:
    """The token for commands is made anew and read back as written."""
    first, second = new_control_token(tmp_path), new_control_token(tmp_path)

    assert first != second == stored_token(tmp_path, "control.token")


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [(b"x" * 40, 0o644, "chmod 600"), (b"x" * 40, 0o620, "chmod 600"), (b"", 0o600, "shorter"),
     (b"secret", 0o600, "shorter"), (b"\xff" * 40, 0o600, "cannot be read")],
)  # fmt: skip
def test_a_token_that_does_not_protect_stops_the_start(
    exposed: Settings, content: bytes, mode: int, message: str
) -> None:
    """A file that others can read, or that holds no real token, is an error with its cure and without its content."""
    exposed.data_dir.mkdir()
    path = exposed.data_dir / "token"
    path.write_bytes(content)
    path.chmod(mode)

    with pytest.raises(AccessError, match=message) as raised:
        port_token(exposed)

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("given", ["", "Right", "right ", "righ", "right\x00", "ríght", "\ud800"])
def test_only_the_token_itself_is_right(given: str) -> None:
    """Everything else is wrong, also text that no token can hold."""
    keeper = Doorkeeper("right")

    assert keeper.check(given, "peer") == "wrong"
    assert keeper.check("right", "peer") == "ok"


def test_who_guesses_has_to_wait() -> None:
    """After ten wrong tokens in 10 s even the right one waits; others are let in, and so is the guesser later."""
    clock = _Clock()
    keeper = Doorkeeper("right", clock)

    verdicts = [keeper.check(f"wrong {number}", "guesser") for number in range(10_000)]
    waiting, other = keeper.check("right", "guesser"), keeper.check("right", "other")
    clock.now += 10

    assert verdicts == ["wrong"] * MAX_WRONG + ["wait"] * (10_000 - MAX_WRONG)
    assert (waiting, other, keeper.check("right", "guesser")) == ("wait", "ok", "ok")


def test_a_request_without_a_token_is_no_guess() -> None:
    """A browser that asks for many files before the login is not locked out."""
    keeper = Doorkeeper("right")

    verdicts = {keeper.check("", "browser") for _ in range(100)}

    assert verdicts == {"wrong"}
    assert keeper.check("right", "browser") == "ok"


def test_the_memory_of_guessers_is_bounded() -> None:
    """Any number of addresses leaves at most a thousand behind."""
    keeper = Doorkeeper("right")

    for number in range(3 * MAX_PEERS):
        keeper.check("wrong", f"peer {number}")

    assert len(keeper._wrong) == MAX_PEERS


OURS = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


def test_a_command_on_this_machine_sends_the_token_along(tmp_path: Path) -> None:
    """Where there is a token, the exporter of an instrumented command gets it as a header."""
    without = with_token(OURS, {}, tmp_path)
    (tmp_path / "token").write_text("secret\n")

    assert without == OURS
    assert with_token(OURS, {"HOME": "/"}, tmp_path) == OURS | {
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20secret"
    }


@pytest.mark.parametrize(
    "name",
    ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS"],
)
def test_the_token_goes_nowhere_else(tmp_path: Path, name: str) -> None:
    """A command whose environment names another backend, or headers of its own, does not get our token."""
    (tmp_path / "token").write_text("secret\n")

    assert with_token(OURS, {name: "https://vendor.example"}, tmp_path) == OURS


@pytest.mark.parametrize(
    ("address", "sent_to"),
    [
        ("0.0.0.0:4318", "127.0.0.1:4318"),
        ("[::]:4318", "[::1]:4318"),
        ("127.0.0.1:4318", "127.0.0.1:4318"),
        ("collector.test:4318", "collector.test:4318"),
    ],
)
def test_what_listens_everywhere_is_sent_to_on_this_machine(address: str, sent_to: str) -> None:
    """Apps that `spanwise run` starts are not told to send to 0.0.0.0."""
    assert reachable(address) == sent_to
