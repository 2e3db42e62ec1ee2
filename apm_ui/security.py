"""What the browser side is protected with: known hosts only, strict headers, no nonsense into callbacks."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import urlsplit

from dash import Dash
from flask import Flask, Response, jsonify, request

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
MAX_BODY_BYTES = 1_000_000
_CALLBACK_PATH = "/_dash-update-component"
_HOST = re.compile(r"(?P<name>\[[0-9a-f:]+\]|[a-z0-9.-]+)(?P<port>:\d{1,5})?", re.ASCII)


def protect(app: Dash, *, hosts: Collection[str], inline_scripts: Sequence[str]) -> None:
    """Put the checks before and the headers behind every route; `inline_scripts` are CSP hashes.

    Requests for other hosts than loopback and `hosts` are refused: a foreign page could otherwise read the UI by
    pointing its own name at this machine.
    """
    allowed = {*LOOPBACK_HOSTS, *(host.lower() for host in hosts)}
    headers = _headers(inline_scripts)
    server: Flask = app.server
    server.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    @server.before_request
    def check() -> Response | None:
        is_absolute = not request.environ.get("REQUEST_URI", "/").startswith("/")
        if is_absolute or not _is_allowed(request.headers.getlist("Host"), allowed):
            return _refuse("This host name is not served here. Open the UI under localhost or 127.0.0.1.")
        if request.method not in {"GET", "HEAD", "OPTIONS"} and _is_foreign(allowed):
            return _refuse("Requests from other sites are refused.", 403)
        if request.path == _CALLBACK_PATH and request.method == "POST":
            return _check_callback(app)
        return None

    @server.after_request
    def add_headers(response: Response) -> Response:
        response.headers.extend(headers)
        return response

    @server.errorhandler(500)
    def failed(_error: Exception) -> Response:
        return _refuse("A mistake in Spanwise itself; the details are in its log.", 500)


def _headers(inline_scripts: Sequence[str]) -> dict[str, str]:
    policy = {
        "default-src": "'self'",
        "script-src": " ".join(["'self'", *inline_scripts]),
        # Mantine, ag-grid and Plotly write style elements and attributes as they draw.
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }


def _is_allowed(values: Sequence[str], allowed: Collection[str]) -> bool:
    found = _HOST.fullmatch(values[0].lower()) if len(values) == 1 else None
    return found is not None and found["name"] in allowed


def _is_foreign(allowed: Collection[str]) -> bool:
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
        return True
    origin = request.headers.get("Origin")
    return origin is not None and not _is_allowed([urlsplit(origin).netloc], allowed)


def _refuse(message: str, status: int = 400) -> Response:
    response: Response = jsonify({"error": message})
    response.status_code = status
    return response


def _check_callback(app: Dash) -> Response | None:
    """Refuse a callback request that the browser side of this app cannot have made."""
    try:
        body = request.get_json(silent=True)
    except RecursionError:
        body = None
    if not isinstance(body, dict):
        return _refuse("A callback request is a JSON object.")
    callback = app.callback_map.get(body["output"]) if isinstance(body.get("output"), str) else None
    if callback is None:
        return _refuse("There is no callback with this output.")
    is_sound = (
        _are_references(body.get("outputs"))
        and _fits(body.get("inputs"), callback["inputs"])
        and _fits(body.get("state", []), callback["state"])
        and _are_texts(body.get("changedPropIds", []))
    )
    return None if is_sound else _refuse("The callback's inputs are not those it declares.")


def _are_references(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(
        _are_references(item)
        if isinstance(item, list)
        else isinstance(item, dict) and {"id", "property"} <= item.keys()
        for item in items
    )


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _fits(given: Any, declared: Sequence[dict[str, str]]) -> bool:
    return (
        isinstance(given, list)
        and len(given) == len(declared)
        and all(_is_same(item, reference) for item, reference in zip(given, declared, strict=True))
    )


def _is_same(given: Any, declared: dict[str, str]) -> bool:
    if declared["id"].startswith("{"):  # a pattern stands for one component or for a list of them
        return _are_references(given)
    return (
        isinstance(given, dict) and given.get("id") == declared["id"] and given.get("property") == declared["property"]
    )
