"""The load generator: open loop, bounded, and only for this machine."""

import subprocess
import sys
import threading
import time
from itertools import islice

import pytest
from flask import Flask, abort

from demo_app.load import Load, Request, send, summary, visits, wait_until_up

QUICK, SLOW = Flask("quick"), Flask("slow")
RELEASE = threading.Event()


@QUICK.route("/", defaults={"path": ""}, methods=["GET", "POST"])
@QUICK.route("/<path:path>", methods=["GET", "POST"])
def quick(path):
    """Answers at once, with the status that the path asks for."""
    return "ok" if not path.startswith("status/") else abort(int(path.removeprefix("status/")))


@SLOW.get("/<path:path>")
def slow(path):
    """Answers when the test lets it."""
    RELEASE.wait(20)
    return "ok"


@pytest.fixture
def slow_url(serve):
    """A server that answers only when the test is over."""
    RELEASE.clear()
    yield serve(SLOW)
    RELEASE.set()


def test_the_rate_is_kept(serve):
    """Over two seconds at 50 requests/s about 100 arrive and all are answered."""
    load = Load(serve(QUICK), rate=50, duration_s=2)
    load.run(threading.Event())

    assert 70 <= load.counts["arrived"] <= 130
    assert load.counts["ok"] + load.counts["skipped"] == load.counts["arrived"]


def test_the_number_of_requests_is_bounded(serve):
    """It ends by itself after the wanted number of arrivals."""
    load = Load(serve(QUICK), rate=500, max_requests=20)
    load.run(threading.Event())

    assert load.counts["arrived"] == 20


def test_arrivals_that_find_no_visitor_are_skipped_and_counted(slow_url):
    """While all visitors wait nothing more is sent, and the summary says how many were skipped."""
    stop = threading.Event()
    load = Load(slow_url, rate=200, max_requests=30, visitors=4)
    threading.Thread(target=load.run, args=(stop,)).start()
    deadline = time.monotonic() + 10
    while load.counts["arrived"] < 30 and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()

    assert load.counts["arrived"] == 30
    assert load.counts["skipped"] == 26
    assert "26 skipped" in summary(load.counts)


def test_stop_ends_it_at_once(slow_url):
    """It ends on `stop` although answers are still due."""
    stop = threading.Event()
    load = Load(slow_url, rate=20)
    thread = threading.Thread(target=load.run, args=(stop,))
    thread.start()
    stop.set()
    thread.join(1)

    assert not thread.is_alive()


def test_every_outcome_has_its_name(serve):
    """An answer is ok, refused or failed by its status; no answer is unanswered."""
    url = serve(QUICK)

    assert send(url, Request("/", {"a": 1})) == "ok"
    assert send(url, Request("/status/404")) == "refused"
    assert send(url, Request("/status/503")) == "failed"
    assert send("http://127.0.0.1:1", Request("/")) == "unanswered"


def test_it_waits_until_the_shop_is_well(serve):
    """A shop that answers its health check is up; one that is not there is not, when the patience is over."""
    assert wait_until_up(serve(QUICK), threading.Event())
    assert not wait_until_up("http://127.0.0.1:1", threading.Event(), patience_s=0.2)


def test_visits_tell_the_whole_story_and_the_same_each_time():
    """The same seed gives the same visits, and among them is every operation, with checkouts after a filled cart."""
    first = list(islice(visits(0, 7), 500))
    paths = {request.path.split("?")[0].split("/")[1] for request in first}
    checkouts = [number for number, request in enumerate(first) if request.path == "/checkout"]

    assert first == list(islice(visits(0, 7), 500))
    assert first != list(islice(visits(1, 7), 500))
    assert paths == {"products", "search", "cart", "checkout"}
    assert 0.04 < len(checkouts) / 500 < 0.12
    assert all(first[number - 1].path == f"/cart/{first[number].body['visitor']}" for number in checkouts)


@pytest.mark.parametrize("url", ["http://example.com", "http://127.0.0.1.example.com", "https://127.0.0.1"])
def test_it_refuses_other_machines(url):
    """An address that is not 127.0.0.1 ends in a usage error."""
    command = [sys.executable, "-m", "demo_app.load", "--url", url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert ended.returncode == 2
    assert "for the demo shop alone" in ended.stderr
