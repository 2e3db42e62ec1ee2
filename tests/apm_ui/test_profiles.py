"""The Profiles page: what it asks a real store, and what it draws."""

from __future__ import annotations

import json
import time

import pytest
from builders import SECOND
from plotly.utils import PlotlyJSONEncoder
from runtime_records import make_log_batch, make_samples_record

from apm_ui.filters import parse_filters
from apm_ui.pages import profiles
from apm_ui.sources import Sources

NOW_NS = time.time_ns()
NNBSP = "\u202f"
VIEW, READ = "/srv/shop/views.py:checkout:30", "socket.py:SocketIO.readinto:718"


@pytest.fixture
def sources(store, tmp_path):
    """The page's sources over an empty store."""
    return Sources(store, tmp_path)


@pytest.fixture
def sampled(sources):
    """Two services: checkouts that wait for a socket, and a stock list."""
    common = {"time_ns": NOW_NS - 60 * SECOND}
    checkout = [
        make_samples_record({f"{VIEW};{READ}": 6, VIEW: 2}, operation="POST /checkout", trace=1, **common),
        make_samples_record({f"{VIEW};{READ}": 2}, operation="POST /checkout", trace=2, **common),
    ]
    sources.store.logs.write(make_log_batch(checkout, "shop"))
    stock = make_samples_record({"/srv/stock/api.py:items:9": 3}, operation="GET /stock", trace=3, **common)
    sources.store.logs.write(make_log_batch([stock], "stock"))
    return sources


def load(sources, search=""):
    return profiles.load(sources, parse_filters(search, NOW_NS))


def drawn(model):
    return json.dumps(profiles.view(model), cls=PlotlyJSONEncoder, ensure_ascii=False)


def test_without_samples_it_says_how_to_switch_the_profiler_on(sources):
    """The empty page has both commands to copy."""
    model = load(sources)

    assert model.is_empty
    assert "SPANWISE_PROFILER=on spanwise run -- python app.py" in drawn(model)
    assert "SPANWISE_PROFILER=slow spanwise run -- python app.py" in drawn(model)


def test_the_endpoint_with_most_samples_is_chosen(sampled):
    """Without a choice the first endpoint is drawn, and the title is where it spends its time."""
    model = load(sampled)

    assert [(one.service, one.operation, one.sample_count) for one in model.endpoints] == [
        ("shop", "POST /checkout", 10),
        ("stock", "GET /stock", 3),
    ]
    text = drawn(model)
    assert f"POST /checkout spends 80{NNBSP}% of its time in SocketIO.readinto" in text
    assert "socket.py:718, mostly under checkout at shop/views.py:30 · 13 samples of 2 endpoints" in text
    assert "10 samples over 2 requests, 49 per second while a span was open" in text


def test_another_endpoint_can_be_chosen(sampled):
    """The row's link chooses by operation and service."""
    first, second = load(sampled).endpoints
    href = load(sampled).href(second)

    model = load(sampled, href.partition("?")[2])

    assert model.chosen == second != first
    assert f"GET /stock spends 100{NNBSP}% of its time in items" in drawn(model)


def test_a_choice_without_samples_falls_back(sampled):
    """An endpoint of another range leaves the page with the first one."""
    assert load(sampled, "?operation=GET%20%2Fgone&by=shop").chosen.operation == "POST /checkout"


def test_the_service_and_the_range_are_kept_to(sampled):
    """A chosen service leaves the others out, a range in which nothing was sampled is empty."""
    assert [one.operation for one in load(sampled, "?service=stock").endpoints] == ["GET /stock"]
    assert load(sampled, f"?start=0&end={NOW_NS - 3600 * SECOND}").is_empty


def test_a_full_page_says_that_there_is_more(sampled, monkeypatch):
    """When more records are in the range than are read, the strip says how far back they reach."""
    monkeypatch.setattr(profiles, "MAX_RECORDS", 2)

    assert "There are more samples in this range." in drawn(load(sampled))
    monkeypatch.setattr(profiles, "MAX_RECORDS", 4)
    assert "There are more samples" not in drawn(load(sampled))


def test_hostile_names_stay_text(sources):
    """Markup in an operation's or function's name reaches the page as text only."""
    hostile = "<img src=x onerror=alert(1)>"
    record = make_samples_record({f"/srv/a.py:{hostile}:1": 2}, operation=hostile, time_ns=NOW_NS - SECOND)
    sources.store.logs.write(make_log_batch([record]))

    text = drawn(load(sources))

    assert f"{hostile} spends 100" in text
    assert "dangerously" not in text
