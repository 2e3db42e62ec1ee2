"""Known hosts only, strict headers, no nonsense into callbacks."""

from __future__ import annotations

import re

import pytest

from apm_ui.app import create_app

LOCAL = {"Host": "127.0.0.1:5000"}
ROUTES = [
    "/",
    "/slos",
    "/nowhere",
    "/_dash-layout",
    "/_dash-dependencies",
    "/assets/shell.js",
    "/api/v1/services",
    "/healthz",
]
FOREIGN = [
    "evil.example", "127.0.0.1.evil", "localhost.evil", "user@localhost", "[::ffff:127.0.0.1]", "", "localhost:5000:1",
    "evil.example:5000", "localhost,evil.example", "127.0.0.2", "localhost:port", "xlocalhost", "0.0.0.0", "localhost.",
]  # fmt: skip


@pytest.fixture
def client(filled_sources):
    """A client of the app."""
    return create_app(filled_sources, hosts=["apm.internal"]).server.test_client()


@pytest.mark.parametrize("host", FOREIGN)
def test_foreign_hosts_are_refused_everywhere(client, host):
    """No route answers under a name that is not ours."""
    assert {client.get(route, headers={"Host": host}, buffered=True).status_code for route in ROUTES} == {400}
    assert client.post("/_dash-update-component", json={}, headers={"Host": host}).status_code == 400


def test_a_foreign_host_in_the_request_line_is_refused(client):
    """An absolute address in the request line names a host too."""
    environ = {"REQUEST_URI": "http://evil.example/"}

    assert client.get("/", headers=LOCAL, environ_overrides=environ).status_code == 400


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:5000", "127.0.0.1:1", "[::1]:5000", "apm.internal"])
def test_our_own_names_are_served(client, host):
    """Loopback names and the hosts that were given are answered."""
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("route", ROUTES)
def test_every_answer_carries_the_headers(client, route):
    """Pages, assets, errors and the API all forbid sniffing, framing and foreign scripts."""
    headers = client.get(route, headers=LOCAL, buffered=True).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in re.search(r"script-src ([^;]*)", headers["Content-Security-Policy"])[1]


def test_every_inline_script_is_named_in_the_policy(client):
    """The index page has as many executable inline scripts as the policy has hashes."""
    answer = client.get("/", headers=LOCAL)
    inline = re.findall(r'<script(?![^>]*(?:src=|type="application/json"))[^>]*>', answer.text)

    assert len(inline) == answer.headers["Content-Security-Policy"].count("'sha256-") == 2


def test_nothing_is_loaded_from_elsewhere(client):
    """Every script and stylesheet of the index page comes from this server."""
    links = re.findall(r'(?:src|href)="([^"]+)"', client.get("/", headers=LOCAL).text)

    assert [link for link in links if not link.startswith(("/", "data:"))] == []


def test_unknown_addresses_answer_404_with_the_frame(client):
    """A mistyped page address gets the app, which explains, with the right status; pages get 200."""
    missing = client.get("/nowhere", headers=LOCAL)

    assert missing.status_code == 404
    assert "react-entry-point" in missing.text
    assert [client.get(path, headers=LOCAL).status_code for path in ("/", "/slos", "/traces/abc")] == [200] * 3


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b"null", b"5", b'"x"', b"{", b"\xff\xfe", b'{"output": 5}', b'{"output": []}',
        b'{"output": "no.where"}',         b"[" * 50_000, b'{"output": "shell-nav-next.data"}',
    ],
)  # fmt: skip
def test_malformed_callback_bodies_get_400_without_a_traceback(client, caplog, body):
    """Nothing that is not a callback request reaches Dash."""
    answer = client.post("/_dash-update-component", data=body, headers=LOCAL, content_type="application/json")

    assert answer.status_code == 400
    assert set(answer.get_json()) == {"error"}
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": None},
        {"inputs": {}},
        {"inputs": []},
        {"inputs": [1, 2, 3]},
        {"inputs": [{"id": "page-seen", "property": "data"}] * 3},
        {"state": "x"},
        {"outputs": 7},
        {"outputs": None},
        {"changedPropIds": [{}]},
    ],
)
def test_callbacks_with_other_inputs_than_declared_are_refused(filled_sources, refresh_body, change):
    """Each part of a callback request must be what the app declares."""
    app = create_app(filled_sources)
    body = {**refresh_body(app), **change}

    answer = app.server.test_client().post("/_dash-update-component", json=body, headers=LOCAL)

    assert answer.status_code == 400


@pytest.mark.parametrize("value", [5, [], {"a": 1}, None, True, "\x00", "?" * 5_000])
def test_values_of_a_wrong_type_never_break_the_refresh(filled_sources, refresh_body, value):
    """Odd addresses and an odd memory of what is shown still end in a page."""
    app = create_app(filled_sources)
    body = refresh_body(app, value, value, value)

    answer = app.server.test_client().post("/_dash-update-component", json=body, headers=LOCAL)

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_sites_cannot_post(filled_sources, refresh_body, headers):
    """A request that a foreign page makes is refused."""
    app = create_app(filled_sources)

    answer = app.server.test_client().post(
        "/_dash-update-component", json=refresh_body(app), headers={**LOCAL, **headers}
    )

    assert answer.status_code == 403


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_only_json_is_taken(filled_sources, content_type):
    """Forms and plain text, which a foreign page may send unasked, are refused."""
    app = create_app(filled_sources)

    answer = app.server.test_client().post(
        "/_dash-update-component", data=b"{}", headers=LOCAL, content_type=content_type
    )

    assert answer.status_code == 400


def test_a_huge_body_is_refused(client):
    """A body above the limit is not read."""
    assert client.post("/_dash-update-component", data=b"x" * 1_100_000, headers=LOCAL).status_code in {400, 413}
