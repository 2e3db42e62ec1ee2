"""The System page says whether everything received is stored, and what a person must know."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from builders import SECOND

from apm_store.query import PruneEntry, StoreHealth, StoreNotice, StoreStats
from apm_ui.app import create_app
from apm_ui.collector_state import CollectorState
from apm_ui.components.system_cards import forecast
from apm_ui.filters import parse_filters
from apm_ui.pages import system
from apm_ui.shell import banner

NOW_NS = time.time_ns()
ZERO = {"traces": 0, "metrics": 0, "logs": 0}
HEALTH = StoreHealth(
    accepted=ZERO | {"traces": 1234567},
    stored=ZERO | {"traces": 1234500},
    duplicates=ZERO | {"traces": 60},
    waiting=ZERO | {"traces": 7},
    queue_bytes=0,
    index_lag_s=0.5,
    commit_p50_ms=0.0,
    commit_p99_ms=0.0,
    bytes_on_disk=1_200_000_000,
    budget_bytes=5_000_000_000,
    disk_free_bytes=80_000_000_000,
    wal_bytes=0,
    segments=3,
    raw_since_ns=None,
    prunes=(),
    notices=(),
)
STATS = StoreStats(1_200_000, 0, 0, 1_200_000_000, 1000.0, 1)
FULL = StoreNotice(NOW_NS, "critical", "The disk is full.")


def _counts(**changes: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"rejected": {}, "dropped": {}, "refused": {}, "refused_requests": {}, "pending": 0}
    return {"received": 10, "accepted": 10} | empty | changes


def _collector(**changes: Any) -> CollectorState:
    nothing = _counts(received=0, accepted=0)
    said = {
        "counts": {"traces": _counts(**changes), "metrics": nothing, "logs": nothing},
        "started_ns": NOW_NS - 3600 * SECOND,
        "version": "0.1.0",
        "rss_bytes": 60_000_000,
        "cpu_s": 3.2,
        "in_flight_bytes": 0,
        "in_flight_limit_bytes": 134_217_728,
        "queue_bytes": 4_000_000,
        "commit_p50_ms": 3.0,
        "commit_p99_ms": 18.0,
        "config": {"checkpoint": 7, "since_ns": NOW_NS - SECOND, "refused": ""},
        "exporters": {},
    }
    return CollectorState("127.0.0.1:4318", said)


def _silent_collector() -> CollectorState:
    """A collector that has not committed anything."""
    collector = _collector()
    assert collector.said is not None
    return CollectorState(collector.address, {**collector.said, "commit_p50_ms": None, "commit_p99_ms": None})


def _model(collector: CollectorState | None = None, health: StoreHealth = HEALTH) -> system.SystemModel:
    return system.SystemModel(NOW_NS, health, STATS, collector or _collector())


def _text(component: Any) -> str:
    if isinstance(component, (list, tuple)):
        return " ".join(map(_text, component))
    if isinstance(component, (str, int, float)):
        return str(component)
    return _text(getattr(component, "children", None)) if component is not None else ""


@pytest.mark.parametrize(
    ("collector", "health", "title"),
    [
        (_collector(), HEALTH, "Everything received is stored"),
        (_collector(received=0, accepted=0), HEALTH, "Nothing has been received since the collector started"),
        (
            _collector(received=522, refused={"disk_full": 512}, refused_requests={"disk_full": 12}),
            replace(HEALTH, notices=(FULL,)),
            "Disk full: 12 requests refused, senders keep their data",
        ),
        (_collector(), replace(HEALTH, notices=(FULL,)), "The disk is full."),
        (
            _collector(refused_requests={"overload": 1}),
            HEALTH,
            "1 request sent back because too much came at once; senders keep their data",
        ),
        (
            _collector(received=13, rejected={"trace_id": 3}),
            HEALTH,
            "3 invalid items rejected, everything else is stored",
        ),
        (
            _collector(refused_requests={"undecodable": 2}),
            HEALTH,
            "2 requests could not be used, everything else is stored",
        ),
        (
            _collector(),
            replace(HEALTH, index_lag_s=12.0),
            "Everything received is kept, but searchable only after 12.0\u202fs",
        ),
        (
            _collector(received=14, dropped={"filter: health": 4}),
            HEALTH,
            "Everything received is stored, but for 4 items that processors dropped",
        ),
        (CollectorState("127.0.0.1:9", None, "refused"), HEALTH, "The collector does not answer"),
    ],
)
def test_the_title_is_the_finding(collector: CollectorState, health: StoreHealth, title: str) -> None:
    """What matters most is said first."""
    view = system.view(_model(collector, health))

    assert _text(view.children[0].children[0].children[0]) == title


def test_counts_are_shown_in_full_with_their_check_and_reasons() -> None:
    """No digit is rounded away where the reader adds up, and each reason is named in words."""
    collector = _collector(received=1234567, accepted=1234000, rejected={"trace_id": 67}, refused={"disk_full": 500})

    words = _text(system.view(_model(collector)))

    assert "1,234,567 1,234,000 67 0 500 0 yes" in " ".join(words.split())
    assert "trace_id 67 items" in words
    assert "disk full 500 items" in words


def test_a_sum_that_does_not_hold_is_told() -> None:
    """Counts that do not add up say no, in the collector's card and in the store's."""
    collector = _collector(received=11)
    health = replace(HEALTH, stored=ZERO)

    words = _text(system.view(_model(collector, health))).split()

    assert words.count("no") == 2


def test_notices_prunes_and_configuration_are_listed() -> None:
    """Critical notices stand first; the prune log, the checkpoint and a refused configuration are there."""
    warn = StoreNotice(NOW_NS - SECOND, "warn", "a.db was set aside.")
    prune = PruneEntry(NOW_NS, "size", NOW_NS - SECOND, NOW_NS, 5, 6, 7, 210_000_000, 812)
    collector = _collector()
    collector.said["config"]["refused"] = "line 14: unknown key"  # type: ignore[index]
    collector.said["exporters"]["otlp"] = {"problem": "refused connection"}  # type: ignore[index]

    words = _text(system.view(_model(collector, replace(HEALTH, notices=(warn, FULL), prunes=(prune,)))))

    assert words.index("The disk is full.") < words.index("a.db was set aside.")
    for part in ("over the limit", "210\u202fMB", "checkpoint 7", "line 14: unknown key", "refused connection"):
        assert part in words


def test_without_the_collector_the_store_is_still_told() -> None:
    """The page says why there are no counts and shows the store's figures."""
    words = _text(system.view(_model(CollectorState("127.0.0.1:9", None, "Connection refused"))))

    assert "127.0.0.1:9 gives no counts: Connection refused" in words
    assert "1,234,500" in words


def test_commit_times_and_queue_are_the_collectors() -> None:
    """The process that writes the store tells them: the page's own store is read-only and knows neither."""
    words = " ".join(_text(system.view(_model())).split())

    assert "Commit, p99 18.0 ms p50 3.00 ms, last commits" in words
    assert "age of the oldest that waits, 4.00 MB in the queue" in words


@pytest.mark.parametrize(
    ("collector", "why"),
    [
        (CollectorState("127.0.0.1:9", None, "refused"), "the collector does not answer"),
        (_silent_collector(), "none measured yet"),
    ],
)
def test_unknown_commit_times_are_no_zero(collector: CollectorState, why: str) -> None:
    """Without an answer, or a commit, there is a dash and the reason."""
    words = " ".join(_text(system.view(_model(collector))).split())

    assert f"Commit, p99 – {why}" in words


def test_a_dead_collector_costs_the_page_little(empty_sources) -> None:
    """The page over a closed port is made within a second."""
    began = time.monotonic()

    model = system.load(empty_sources, parse_filters("", NOW_NS))

    assert model.collector.said is None
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("health", "stats", "words"),
    [
        (HEALTH, STATS, "The limit is reached in about 1\u202fh\u202f3\u202fmin at 1,000\u202fspans/s"),
        (replace(HEALTH, disk_free_bytes=60_000_000), STATS, "The disk is full in about 1\u202fmin"),
        (HEALTH, replace(STATS, spans_per_second=0.0), "Nothing arrives at present"),
        (HEALTH, replace(STATS, spans=10), "Too little is stored"),
        (replace(HEALTH, raw_since_ns=5), STATS, "The budget is in use"),
    ],
)
def test_the_forecast_is_a_sentence(health: StoreHealth, stats: StoreStats, words: str) -> None:
    """1,000 spans of 1 kB a second fill 3.8 GB in 63 min; without a rate or a base there is no forecast."""
    assert forecast(health, stats).startswith(words)


def test_the_banner_is_one_line_with_a_way_to_all() -> None:
    """One critical notice is quoted, more are counted; nothing critical is no banner."""
    shown = banner(["The disk is full.", "x", "y"])

    assert shown is not None
    assert "The disk is full. And 2 more." in _text(shown)
    assert [item.href for item in shown._traverse() if hasattr(item, "href")] == ["/system"]
    assert banner([]) is None


@pytest.mark.parametrize(("pathname", "is_told"), [("/", True), ("/slos", True), ("/system", False)])
def test_every_other_page_carries_the_banner(empty_sources, monkeypatch, pathname: str, is_told: bool) -> None:
    """The frame's callback tells what is critical, but for the page that says it itself."""
    monkeypatch.setattr(type(empty_sources.store), "health", lambda _self: replace(HEALTH, notices=(FULL,)))
    app = create_app(empty_sources)
    inputs = [
        {"id": "shell-notice-tick", "property": "n_intervals", "value": 1},
        {"id": "shell-url", "property": "pathname", "value": pathname},
    ]
    output = {"id": "shell-notice", "property": "children"}
    body = {"output": "shell-notice.children", "outputs": output, "inputs": inputs, "changedPropIds": []}

    answer = app.server.test_client().post("/_dash-update-component", json=body, headers={"Host": "localhost"})

    assert answer.status_code == 200
    assert ("The disk is full." in answer.text) == is_told
