"""A page's address, and the refresh callback over HTTP."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest
from builders import make_batch, make_span
from dash import html

from apm_store.api import StoreTimeoutError
from apm_ui.app import create_app
from apm_ui.page import Page, find_page, render
from apm_ui.pages import PAGES


def page_module(load=lambda _sources, _filters: None, view=lambda _model: html.P("drawn")):
    """A page with one answer."""
    return SimpleNamespace(PAGE=Page("demo", "/demo/<name>", "Demo", 1, "overview"), load=load, view=view)


@pytest.mark.parametrize(
    ("path", "pathname", "variables"),
    [
        ("/", "/", {}),
        ("/traces", "/traces/", {}),
        ("/traces", "/traces/abc", None),
        ("/traces/<trace_id>", "/traces/a%20b", {"trace_id": "a b"}),
        ("/traces/<trace_id>", "/traces/a/b", None),
    ],
)
def test_a_page_knows_its_addresses(path, pathname, variables):
    """Variables of the path are decoded; a slash at the end does not matter."""
    assert Page("x", path, "X", 1, "traces").match(pathname) == variables


def test_every_address_of_the_navigation_finds_its_page():
    """Each page without variables is found under its own path."""
    paths = [module.PAGE.path for module in PAGES if "<" not in module.PAGE.path]

    assert [find_page(PAGES, path)[0].PAGE.path for path in paths] == paths


def test_variables_of_the_path_reach_load(empty_sources):
    """A page reads the path's variables like any parameter."""
    seen = []
    module = page_module(load=lambda _sources, filters: seen.append((filters.get("name"), filters.get("tab"))))

    render([module], empty_sources, "/demo/first", "?tab=logs", time.time_ns())

    assert seen == [("first", "logs")]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StoreTimeoutError("The store did not answer within 2 s."), "The store did not answer within 2 s."),
        (ZeroDivisionError("secret detail"), "A mistake in Spanwise itself"),
    ],
)
def test_a_failing_page_says_so(empty_sources, caplog, error, words):
    """Errors of the store are told in its words; a mistake of ours is told without its details, which are logged."""

    def load(_sources, _filters):
        raise error

    shown = str(render([page_module(load=load)], empty_sources, "/demo/x", "", time.time_ns()))

    assert words in shown
    assert "secret" not in shown
    assert ("secret detail" in caplog.text) is isinstance(error, ZeroDivisionError)


@pytest.mark.parametrize(
    ("pathname", "search", "words"),
    [
        ("/", "?range=2x", "“2x” is not a range"),
        ("/nowhere", "", "There is no such page"),
        ("/", "?start=9&end=5", "must end after"),
    ],
)
def test_an_address_that_cannot_be_read_says_why(empty_sources, pathname, search, words):
    """A wrong range or path ends in a panel with the cause."""
    assert words in str(render(PAGES, empty_sources, pathname, search, time.time_ns()))


def test_refresh_answers_no_page_while_nothing_changed(filled_sources, refresh):
    """A second request for the same version, address and minute gets the pulse alone."""
    app = create_app(filled_sources)
    search = "?start=1&end=1795000000000000000"
    first = refresh(app, search=search)

    second = refresh(app, search=search, seen=first["page-seen"]["data"])

    assert set(first) == {"page-next", "page-seen", "page-pulse", "shell-nav-next", "shell-pickers-next"}
    assert set(second) == {"page-pulse"}


def test_refresh_draws_the_page_again_when_something_changed(filled_sources, refresh):
    """A commit, another address and a new minute each make the page new."""
    app = create_app(filled_sources)
    seen = {**refresh(app)["page-seen"]["data"], "rest_until_ms": 0}
    assert "page-next" not in refresh(app, seen=seen)

    assert "page-next" in refresh(app, "/slos", seen=seen)
    assert "page-next" in refresh(app, seen={**seen, "epoch": "[1, []]"})
    filled_sources.store.traces.write(make_batch([make_span("GET /", trace=77_777)], "storefront"))
    assert "page-next" in refresh(app, seen=seen)


def test_a_page_that_took_long_rests(filled_sources, refresh):
    """A commit alone does not redraw a page before its rest is over."""
    app = create_app(filled_sources)
    seen = refresh(app)["page-seen"]["data"]
    filled_sources.store.traces.write(make_batch([make_span("GET /", trace=77_778)], "storefront"))

    answer = refresh(app, seen={**seen, "rest_until_ms": time.time_ns() // 10**6 + 5_000})

    assert "page-next" not in answer


def test_the_pulse_says_how_much_arrives(filled_sources, refresh):
    """The frame shows what the store holds."""
    pulse = refresh(create_app(filled_sources))["page-pulse"]["data"]

    assert pulse["size"].startswith("400 spans")
    assert pulse["growth"].startswith("Receiving ")


def test_a_closed_store_is_told_in_the_frame(filled_sources, refresh):
    """When the store does not answer, the pulse carries the problem and the page an error panel."""
    app = create_app(filled_sources)
    filled_sources.store.close()

    answer = refresh(app)

    assert answer["page-pulse"]["data"]["problem"] == "The store does not answer."
    assert "Incoming data is still being saved" in json.dumps(answer["page-next"])


def test_a_database_that_is_gone_is_told(filled_sources, refresh, monkeypatch):
    """A file that was moved away ends in a panel that names it, not in a failed request."""

    def stats():
        raise FileNotFoundError(2, "No such file or directory", "/data/spanwise.db")

    monkeypatch.setattr(filled_sources.store, "stats", stats)

    answer = refresh(create_app(filled_sources), "/slos")

    assert "SLOs could not be read" in json.dumps(answer["page-next"])
    assert "/data/spanwise.db cannot be read: No such file or directory." in json.dumps(answer["page-next"])
    assert answer["page-pulse"]["data"]["problem"] == "The store does not answer."
