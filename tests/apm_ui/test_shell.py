"""The frame: navigation, pickers, and the server that carries it all."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from http.client import HTTPConnection

import pytest
from builders import SECOND, make_batch, make_span

from apm_store.open import open_store
from apm_store.query import ServiceInfo
from apm_ui.app import create_app
from apm_ui.filters import parse_filters
from apm_ui.pages import PAGES
from apm_ui.server import make_server
from apm_ui.shell import navigation, range_picker, service_picker

NOW_NS = time.time_ns()
LOCAL = {"Host": "localhost"}


def hrefs(component):
    """All addresses in a component."""
    links = [one for one in component._traverse() if getattr(one, "href", None)]
    return [link.href for link in links]


def test_the_navigation_lists_pages_in_order_and_carries_the_range_along():
    """Only pages with a place in the navigation are listed; what one page chose for itself stays there."""
    links = navigation([m.PAGE for m in PAGES], "/slos", parse_filters("?range=6h&slo=x", NOW_NS))

    found = [href for item in links for href in hrefs(item)]
    assert found == [
        "/?range=6h",
        "/traces?range=6h",
        "/profiles?range=6h",
        "/queries?range=6h",
        "/slos?range=6h",
        "/system?range=6h",
    ]


def test_the_navigation_marks_the_open_page():
    """A trace belongs to the traces."""
    items = navigation([m.PAGE for m in PAGES], "/traces/abc", None)

    assert [hrefs(item) for item in items if getattr(item, "aria-current", None) == "page"] == [["/traces"]]


def test_the_pickers_only_change_the_address():
    """Each choice is a link that keeps everything else that was chosen."""
    filters = parse_filters("?range=6h&service=shop&status=error", NOW_NS)
    services = [ServiceInfo("shop", 0, 1, 2), ServiceInfo("mail & co", 1, 1, 2)]

    assert hrefs(service_picker(services, "/traces", filters)) == [
        "/traces?range=6h&status=error",
        "/traces?range=6h&service=shop&status=error",
        "/traces?range=6h&service=mail%20%26%20co&status=error",
    ]
    assert hrefs(range_picker("/traces", filters))[:3] == [
        "/traces?range=5m&service=shop&status=error",
        "/traces?range=15m&service=shop&status=error",
        "/traces?range=1h&service=shop&status=error",
    ]


@pytest.mark.parametrize(
    ("pathname", "search"), [("/slos", "?range=6h"), (None, None), ("//evil.example", "?range=2x"), (5, [])]
)
def test_the_frame_follows_any_address(filled_sources, refresh, pathname, search):
    """Navigation and pickers come with the page, even for addresses that cannot be read, and stay on this site."""
    answer = refresh(create_app(filled_sources), pathname, search)

    pickers = json.dumps(answer["shell-pickers-next"])
    assert "storefront" in pickers
    assert "evil" not in pickers
    assert "/queries" in json.dumps(answer["shell-nav-next"])


def test_the_frame_stays_while_address_services_and_minute_stay(filled_sources, refresh):
    """A commit draws the page again, not the frame: an open picker stays as it is."""
    app = create_app(filled_sources)
    before = refresh(app)
    seen = {**before["page-seen"]["data"], "rest_until_ms": 0, "version": -1}

    after = refresh(app, seen=seen)

    if after["page-seen"]["data"]["epoch"] == seen["epoch"]:  # no minute began in between
        assert {"shell-nav-next", "shell-pickers-next"}.isdisjoint(after)
    assert "page-next" in after


def test_page_and_pickers_show_the_same_range(empty_sources, refresh):
    """A store that is a minute old is shown with five minutes, in the page's links and in the picker alike."""
    start_ns = time.time_ns() - 60 * SECOND
    empty_sources.store.traces.write(make_batch([make_span("GET /", start_ns=start_ns)], "shop"))

    answer = refresh(create_app(empty_sources))

    assert "Last 5 min" in json.dumps(
        answer["shell-pickers-next"]["data"]["props"]["children"][1]["props"]["children"][0]
    )
    assert "range=" not in json.dumps(answer["page-next"])


def test_two_apps_answer_from_their_own_stores(filled_sources, refresh, tmp_path):
    """Nothing is shared between apps in one process."""
    other = open_store(tmp_path / "other")
    apps = [create_app(filled_sources), create_app(replace(filled_sources, store=other))]

    titles = [json.dumps(refresh(app)["page-next"]) for app in apps]
    other.close()

    assert "2 things need attention" in titles[0]
    assert "No telemetry has arrived yet" in titles[1]


def test_the_server_serves_until_it_is_closed(filled_sources):
    """A bound server answers over a real socket and tells no version."""
    server = make_server(create_app(filled_sources), "127.0.0.1", 0)
    thread = threading.Thread(target=server.run)
    thread.start()
    connection = HTTPConnection("127.0.0.1", server.effective_port, timeout=10)
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    server.close()
    thread.join(10)

    assert (answer.status, answer.getheader("Server")) == (200, None)
    assert b"status" in body
    assert not thread.is_alive()


def test_a_taken_port_is_an_error_at_start(filled_sources):
    """Nobody waits for a server that cannot listen."""
    server = make_server(create_app(filled_sources), "127.0.0.1", 0)

    with pytest.raises(OSError, match="in use"):
        make_server(create_app(filled_sources), "127.0.0.1", int(server.effective_port))
    server.close()
