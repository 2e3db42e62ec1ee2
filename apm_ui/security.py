"""What the browser side is protected with: known hosts only, strict headers, no nonsense into callbacks."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from dash import Dash
from flask import Flask, Response, jsonify, request

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
MAX_BODY_BYTES = 1_000_000
LOGIN_PATH = "/login"
COOKIE = "spanwise_token"
ALL_ADDRESSES = frozenset({"0.0.0.0", "::", "[::]"})  # noqa: S104  compared with, not bound
_CALLBACK_PATH = "/_dash-update-component"
_HOST = re.compile(r"(?P<name>\[[0-9a-f:]+\]|[a-z0-9.-]+)(?P<port>:\d{1,5})?", re.ASCII)

# Under the policy no-referrer a form names its origin "null", which is refused; this page alone names it to us.
_LOGIN = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="referrer" content="same-origin">
<title>Token · Spanwise</title>
<style>
:root { color-scheme: light dark; font: 13px/20px system-ui, sans-serif }
form { max-width: 360px; margin: 12vh auto; padding: 14px; display: grid; gap: 10px }
h1 { font-size: 20px; margin: 0 } p { margin: 0 } input, button { font: inherit; padding: 6px 10px }
</style>
</head>
<body>
<form method="post" action="/login">
<h1>Spanwise</h1>
<p>WORDS It is in the file <code>token</code> of the data directory.</p>
<input type="password" name="token" aria-label="Token" autocomplete="current-password" required autofocus>
<button type="submit">Open</button>
</form>
</body>
</html>"""

CheckToken = Callable[[str, str], Literal["ok", "wrong", "wait"]]
"""Says of a token and the address it came from whether it is right; "wait" after too many wrong ones."""


def protect(
    app: Dash, *, hosts: Collection[str], inline_scripts: Sequence[str], check_token: CheckToken | None = None
) -> None:
    """Put the checks before and the headers behind every route; `inline_scripts` are CSP hashes.

    Requests for other hosts than loopback and `hosts` are refused: a foreign page could otherwise read the UI by
    pointing its own name at this machine. With `check_token` every request needs a token, see `_let_in`.
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
        if check_token is not None and (answer := _let_in(check_token)) is not None:
            return answer
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


def _let_in(check_token: CheckToken) -> Response | None:
    """None for a request with the right token, as bearer or cookie; else the way to give it.

    The login form sends the token once; it comes back as a cookie that no script and no other site can use.
    """
    peer = request.remote_addr or ""
    if request.path == LOGIN_PATH and request.method == "POST":
        token = request.form.get("token", "").strip()
        verdict = check_token(token, peer)
        if verdict == "ok":
            response = Response(status=303, headers={"Location": "/"})
            response.set_cookie(COOKIE, token, httponly=True, samesite="Strict")
            return response
        return _ask_token(verdict, is_page=True)
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    token = bearer.strip() if scheme.lower() == "bearer" else request.cookies.get(COOKIE, "")
    verdict = check_token(token, peer)
    is_page = request.method == "GET" and "text/html" in request.headers.get("Accept", "")
    return None if verdict == "ok" else _ask_token(verdict, is_page=is_page)


def _ask_token(verdict: str, *, is_page: bool) -> Response:
    """Refuse for want of a token; a browser gets the form to give it."""
    waits = verdict == "wait"
    words = "Too many wrong tokens; try again in 10 s." if waits else "A token is needed here."
    response = Response(_LOGIN.replace("WORDS", words), mimetype="text/html") if is_page else _refuse(words)
    response.status_code = 429 if waits else 401
    response.headers["Cache-Control"] = "no-store"
    response.headers.update({"Retry-After": "10"} if waits else {"WWW-Authenticate": "Bearer"})
    return response


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
        "form-action": "'self'",  # the form that asks for the token
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
    if found is None:
        return False
    return found["name"] in allowed or (bool(ALL_ADDRESSES & set(allowed)) and _is_nobodys(found["name"]))


def _is_nobodys(name: str) -> bool:
    """Whether a host is an address or a name without a dot: neither can be given to a foreign page by DNS."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return "." not in name and ":" not in name
    return True


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
