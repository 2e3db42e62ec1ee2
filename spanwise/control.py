"""Asks the running stack over loopback: what it says of itself, and what only the store's writer can do."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spanwise.access import CONTROL_TOKEN_NAME, stored_token
from spanwise.data_dir import Instance

CONTROL_TIMEOUT_S = 600.0  # removing much takes its time


class ControlError(Exception):
    """The running collector did not do what it was asked; the message says why."""


def ask_collector(instance: Instance, data_dir: Path, command: str, body: Mapping[str, int]) -> dict[str, Any]:
    """Have the collector of a running instance do a command, such as `prune`; gives its answer.

    Raises ControlError.
    """
    url = f"http://{instance.otlp_http}/control/{command}"
    headers = {"Content-Type": "application/json", "X-Spanwise-Control": stored_token(data_dir, CONTROL_TOKEN_NAME)}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        return _open(request, data_dir, CONTROL_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            raise ControlError(_words(error)) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ControlError(f"The collector at {instance.otlp_http} does not answer: {reason}") from error


def fetch_json(url: str, data_dir: Path | None = None, timeout_s: float = 3.0) -> dict[str, Any]:
    """GET a JSON object from our own stack; {"status": "down", "reason": …} when it does not answer.

    With a data directory the token in it is sent along.
    """
    try:
        return _open(urllib.request.Request(url), data_dir, timeout_s)  # noqa: S310  our own http address
    except (OSError, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        return {"status": "down", "reason": str(getattr(error, "reason", error))}


def _open(request: urllib.request.Request, data_dir: Path | None, timeout_s: float) -> dict[str, Any]:
    token = stored_token(data_dir) if data_dir else ""
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # our own ports are behind no proxy
    with opener.open(request, timeout=timeout_s) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def _words(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"
