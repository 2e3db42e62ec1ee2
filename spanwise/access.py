"""Who may reach the ports: loopback needs nothing, any other address a token (see ADR 009)."""

from __future__ import annotations

import ipaddress
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from spanwise.settings import Settings

TOKEN_NAME = "token"  # noqa: S105  the name of a file
CONTROL_TOKEN_NAME = "control.token"  # noqa: S105
MAX_WRONG = 10  # tokens of one peer within WRONG_WINDOW_S
WRONG_WINDOW_S = 10.0
MAX_PEERS = 1000
MIN_TOKEN_CHARS = 20


class AccessError(Exception):
    """The ports cannot be opened safely; the message says why and what to do."""


class Doorkeeper:
    """Compares tokens in constant time, and no more than a few wrong ones of a peer; safe from any thread."""

    def __init__(self, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._token = token.encode()
        self._clock = clock
        self._wrong: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def check(self, given: str, peer: str) -> Literal["ok", "wrong", "wait"]:
        """Whether the token is right; "wait" tells a peer that guesses, for at most 10 s. No token is no guess."""
        import hmac

        if not given:
            return "wrong"
        with self._lock:
            wrong = self._wrong.get(peer)
            if wrong and len(wrong) == MAX_WRONG and self._clock() - wrong[0] < WRONG_WINDOW_S:
                return "wait"
            if hmac.compare_digest(given.encode("utf-8", "replace"), self._token):
                return "ok"
            self._wrong.setdefault(peer, deque(maxlen=MAX_WRONG)).append(self._clock())
            if len(self._wrong) > MAX_PEERS:
                del self._wrong[next(iter(self._wrong))]
        return "wrong"


# The addresses that stand for all of a machine's, to listen on; and what to send to instead.
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "[::]": "[::1]"}  # noqa: S104  compared, not bound


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def reachable(address: str) -> str:
    """Turn "host:port" that somebody listens on into what this machine sends to: loopback for all of its addresses."""
    host, _, port = address.rpartition(":")
    return f"{EVERYWHERE.get(host, host)}:{port}"


def port_token(settings: Settings) -> str:
    """The token that the ports ask for, made at the first start that needs one; "" when they ask for none.

    Raises AccessError when its file cannot be used.
    """
    if is_loopback(settings.host) or settings.auth == "none":
        return ""
    path = settings.data_dir / TOKEN_NAME
    try:
        if not path.exists():
            _write(path, _new_token())
        mode = path.stat().st_mode
        token = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AccessError(f"{path} cannot be read: {error}. Without a token only loopback is served.") from error
    if stat.S_IMODE(mode) & 0o077:
        raise AccessError(f"Others can read {path}. Run: chmod 600 {path}")
    if len(token) < MIN_TOKEN_CHARS:
        raise AccessError(
            f"The token in {path} is shorter than {MIN_TOKEN_CHARS} characters. Remove the file; "
            "the next start makes a new one."
        )
    return token


def token_check(settings: Settings) -> Callable[[str, str], Literal["ok", "wrong", "wait"]] | None:
    """What the ports check tokens with; None when they ask for none. Raises AccessError."""
    token = port_token(settings)
    return Doorkeeper(token).check if token else None


def new_control_token(data_dir: Path) -> str:
    """A token for commands on this machine, written anew for each start of the collector."""
    token = _new_token()
    _write(data_dir / CONTROL_TOKEN_NAME, token)
    return token


def stored_token(data_dir: Path, name: str = TOKEN_NAME) -> str:
    """A token that a running stack has written; "" when there is none that can be read."""
    try:
        return (data_dir / name).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def with_token(variables: Mapping[str, str], base: Mapping[str, str], data_dir: Path) -> dict[str, str]:
    """The variables that instrument a command on top of `base`, and the token for its exporter where one is asked for.

    Nothing is added when `base` sends anywhere else or has headers of its own: the token is for our ports alone.
    """
    token = stored_token(data_dir)
    theirs = [name for name in base if name.startswith("OTEL_EXPORTER_OTLP") and name.endswith(("ENDPOINT", "HEADERS"))]
    if not token or theirs:
        return dict(variables)
    return {**variables, "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{token}"}


def _new_token() -> str:
    import secrets

    return secrets.token_urlsafe(32)


def _write(path: Path, token: str) -> None:
    """Put a token into a file of its owner alone, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        os.fchmod(fd, 0o600)
        file.write(token + "\n")
    draft.replace(path)
