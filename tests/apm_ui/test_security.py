"""Known hosts only, strict headers, no nonsense into callbacks."""

from __future__ import annotations

import re
import socket
import threading

import pytest

from apm_ui.app import create_app
from apm_ui.pages import PAGES
from apm_ui.server import make_server
from spanwise.access import Doorkeeper

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
    "192.168.1.5", "spanwise", "http://localhost", "localhost/x", "[::1", "2130706433", "127.1",
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


# --- every route, found by walking the app -------------------------------------------------------------------------


def _routes(app):
    """One address for each rule of the app, and every file of the assets and of Dash's own scripts on the page."""
    rules = [re.sub(r"<(?:\w+:)?(\w+)>", "x", rule.rule) for rule in app.server.url_map.iter_rules()]
    index = app.server.test_client().get("/", headers=LOCAL).text
    files = re.findall(r'(?:src|href)="(/[^"]+)"', index)
    return sorted({*rules, *files, *(module.PAGE.path for module in PAGES)})


def test_foreign_hosts_get_nothing_from_any_route(filled_sources):
    """Pages, callbacks, API, health, assets and Dash's files refuse all foreign names with every method they take."""
    app = create_app(filled_sources)
    client, routes = app.server.test_client(), _routes(app)
    asked = [(method, route, host) for route in routes for host in FOREIGN for method in ("GET", "POST")]

    statuses = {
        client.open(route, method=method, headers={"Host": host}, buffered=True).status_code
        for method, route, host in asked
    }

    assert len(routes) > 40
    assert statuses == {400}


@pytest.mark.parametrize(
    "lines",
    [
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
        b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\nHost: localhost",
        b"GET /healthz HTTP/1.1\r\nX: y",
        b"GET /healthz HTTP/1.0\r\nX: y",
        b"GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example",
        b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost",
    ],
    ids=["two hosts", "two hosts, foreign first", "no host", "no host, 1.0", "foreign line", "foreign line, own host"],
)
def test_requests_that_name_no_one_host_get_nothing(empty_sources, lines):
    """What a well-behaved browser never sends is refused over a real socket, with the security headers."""
    server = make_server(create_app(empty_sources), "127.0.0.1", 0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        with socket.create_connection(("127.0.0.1", int(server.effective_port)), timeout=10) as connection:
            connection.sendall(lines + b"\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    finally:
        server.close()
        thread.join(10)

    assert answer.split(b" ")[1] == b"400"
    assert b"X-Frame-Options: DENY" in answer


def test_other_sites_can_change_nothing_on_any_route(filled_sources):
    """A cross-site request with a method that may change something is refused on every route, with any body."""
    app = create_app(filled_sources)
    client = app.server.test_client()
    bodies = [("text/plain", b"x"), ("application/x-www-form-urlencoded", b"token=x"), ("application/json", b"{}")]
    crossing = [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]

    statuses = {
        client.open(route, method=method, headers={**LOCAL, **foreign}, data=data, content_type=kind).status_code
        for route in _routes(app)
        for method in ("POST", "PUT", "PATCH", "DELETE")
        for kind, data in bodies
        for foreign in crossing
    }

    assert statuses == {403}


def test_every_answer_of_every_route_carries_the_headers(filled_sources):
    """Good answers and refusals of all kinds have every security header, and none names the server's software."""
    app = create_app(filled_sources)
    client = app.server.test_client()
    wanted = {"Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy"}
    given = [LOCAL, {"Host": "evil.example"}, {**LOCAL, "Origin": "http://evil.example"}]

    answers = [
        client.open(route, method=method, headers=headers, buffered=True)
        for route in _routes(app)
        for method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS")
        for headers in given
    ]

    assert [answer.request.path for answer in answers if not wanted <= {*answer.headers.keys()}] == []
    assert [answer.request.path for answer in answers if "Server" in answer.headers] == []


# --- with a token --------------------------------------------------------------------------------------------------

TOKEN = "a-token-that-is-long-enough"


@pytest.fixture
def guarded(empty_sources):
    """The app as it is served beyond loopback: every request needs the token."""
    keeper = Doorkeeper(TOKEN)
    return create_app(empty_sources, hosts=["0.0.0.0"], check_token=keeper.check)


def test_without_the_token_every_route_answers_401(guarded):
    """No route, file or callback is open, and each says that a bearer token is needed."""
    client, routes = guarded.server.test_client(), _routes_of_guarded(guarded)

    answers = [
        client.open(route, method=method, headers={**LOCAL, **headers}, buffered=True)
        for route in routes
        for method in ("GET", "POST", "DELETE")
        for headers in ({}, {"Authorization": "Basic x"}, {"Cookie": "other=1"}, {"Accept": "text/html"})
    ]

    assert {answer.status_code for answer in answers} == {401}
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {"Bearer"}
    assert not [answer for answer in answers if TOKEN in answer.text]


def _routes_of_guarded(app):
    return sorted(
        {re.sub(r"<(?:\w+:)?(\w+)>", "x", rule.rule) for rule in app.server.url_map.iter_rules()} | {"/login"}
    )


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_token_opens_every_page_and_the_api(guarded, scheme):
    """A bearer header is enough; the security headers stay."""
    client = guarded.server.test_client()
    headers = {**LOCAL, "Authorization": f"{scheme} {TOKEN}"}

    answers = [client.get(path, headers=headers) for path in ("/", "/system", "/api/v1/services", "/healthz")]

    assert [answer.status_code for answer in answers] == [200] * 4
    assert all(answer.headers["X-Frame-Options"] == "DENY" for answer in answers)


def test_a_browser_logs_in_once(guarded):
    """The form takes the token, leads to the start page, and leaves a cookie that no script and no other site has."""
    client = guarded.server.test_client()
    form = client.get("/traces", headers={**LOCAL, "Accept": "text/html,*/*"})

    answer = client.post("/login", headers={**LOCAL, "Origin": "http://127.0.0.1:5000"}, data={"token": f" {TOKEN} "})

    cookie = answer.headers["Set-Cookie"]
    assert (form.status_code, "<form" in form.text, form.headers["Cache-Control"]) == (401, True, "no-store")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert client.get("/", headers=LOCAL).status_code == 200


def test_a_wrong_login_says_so_and_sets_nothing(guarded):
    """The form comes again, without a cookie and without what was typed."""
    answer = guarded.server.test_client().post("/login", headers=LOCAL, data={"token": "<script>guess"})

    assert (answer.status_code, "Set-Cookie" in answer.headers, "guess" in answer.text) == (401, False, False)


def test_who_guesses_tokens_is_slowed_down(guarded):
    """After ten wrong tokens, by whichever way, the answer is 429 with the time to wait."""
    client = guarded.server.test_client()
    guesses = [client.get("/", headers={**LOCAL, "Authorization": f"Bearer {number}"}) for number in range(6)]
    guesses += [client.post("/login", headers=LOCAL, data={"token": str(number)}) for number in range(6)]

    assert [answer.status_code for answer in guesses] == [401] * 10 + [429] * 2
    assert guesses[-1].headers["Retry-After"] == "10"


def test_the_token_is_never_taken_from_an_address(guarded):
    """A token in the query opens nothing."""
    client = guarded.server.test_client()

    assert client.get(f"/?token={TOKEN}", headers=LOCAL).status_code == 401


def test_on_all_addresses_the_ui_answers_to_what_dns_cannot_give_away(guarded):
    """Bound to all addresses it is reached by address and by names without a dot, and by no other name."""
    client = guarded.server.test_client()
    headers = {"Authorization": f"Bearer {TOKEN}"}

    good = [
        client.get("/", headers={**headers, "Host": host}) for host in ("192.168.1.5:5000", "spanwise", "[fd00::1]")
    ]
    bad = [client.get("/", headers={**headers, "Host": host}) for host in ("evil.example", "1.2.3.4.example", "")]

    assert ({answer.status_code for answer in good}, {answer.status_code for answer in bad}) == ({200}, {400})
