"""The Prometheus text, read by a strict parser of the format's grammar."""

from __future__ import annotations

import re
import time

import pytest

from apm_collector.control import OwnRoutes
from apm_collector.counts import Counts
from apm_collector.intake import Intake
from apm_collector.self_metrics import Metric, exposition
from apm_store.api import Store, StoreError
from apm_store.model import Signal

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|\})')
_VALUE = re.compile(r"[+-]?(?:\d+(?:\.\d*)?(?:e[+-]?\d+)?|inf|nan)")
_UNITS = ("_bytes", "_seconds", "_info", "_up", "_total", "_waiting", "_pending", "_segments", "_prunes", "_notices")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
AWKWARD = 'a "quoted"\\ back\\n\nslash\x1b[31m, {x="y"} =cmd'


def parse(text: str) -> tuple[Samples, dict[str, str]]:
    """Every sample and the type of each metric; raises AssertionError at the first breach of the format."""
    samples: Samples = {}
    types: dict[str, str] = {}
    current = ""
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            current = line.split(" ", 3)[2]
            assert current not in types, "a metric's lines stand together"
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == current
            assert kind in {"counter", "gauge"}
            types[name] = kind
        else:
            name, labels, value = _parse_sample(line)
            assert name == current
            assert (name, labels) not in samples, "no sample twice"
            samples[name, labels] = value
    return samples, types


def _parse_sample(line: str) -> tuple[str, frozenset[tuple[str, str]], float]:
    found = _NAME.match(line)
    assert found, line
    labels, rest = {}, line[found.end() :]
    if rest.startswith("{"):
        position, end = 1, ","
        while end == ",":
            label = _LABEL.match(rest, position)
            assert label, line
            labels[label[1]] = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], label[2])
            position, end = label.end(), label[3]
        rest = rest[position:]
    assert rest.startswith(" "), line
    assert _VALUE.fullmatch(rest[1:]), line
    return found[0], frozenset(labels.items()), float(rest[1:])


@pytest.fixture
def counts() -> Counts:
    """Counts with every outcome in them."""
    counts = Counts()
    with counts.request(Signal.TRACES, 10, {"trace_id": 1}):
        counts.on_dropped(Signal.TRACES, AWKWARD, 2)
        counts.add_accepted(Signal.TRACES, 7)
    counts.add_refused(Signal.LOGS, "undecodable")
    return counts


@pytest.fixture
def routes(counts: Counts, store: Store):
    """The routes of a collector with these counts over a real store, and an exporter beside it."""
    intake = Intake(counts)
    state = {"counts": {"traces": {"delivered": 7}}, "waiting": {"traces": 0}, "queue_bytes": 12, "problem": ""}
    yield OwnRoutes(store, intake, exporters=lambda: {"otlp/elsewhere": state})
    intake.close()


def _metrics(routes: OwnRoutes) -> str:
    status, content_type, body = routes.handle("GET", "/metrics", {}, b"")
    assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return body.decode()


def test_the_text_is_well_formed_and_tells_the_counts(routes: OwnRoutes) -> None:
    """A strict parser reads every line and finds each count under its signal and reason."""
    samples, types = parse(_metrics(routes))

    def value(name: str, **labels: str) -> float:
        return samples[f"spanwise_{name}", frozenset(labels.items())]

    assert value("collector_items_received_total", signal="traces") == 10
    assert value("collector_items_accepted_total", signal="traces") == 7
    assert value("collector_items_rejected_total", signal="traces", reason="trace_id") == 1
    assert value("collector_items_dropped_total", signal="traces", reason=AWKWARD) == 2
    assert value("collector_items_pending", signal="traces") == 0
    assert value("collector_requests_refused_total", signal="logs", reason="undecodable") == 1
    assert value("exporter_items_total", exporter="otlp/elsewhere", signal="traces", outcome="delivered") == 7
    assert value("store_up") == 1
    assert types["spanwise_collector_items_received_total"] == "counter"


def test_names_follow_the_conventions(routes: OwnRoutes) -> None:
    """Counters end in _total and nothing else does; what is measured has its base unit in its name."""
    _, types = parse(_metrics(routes))

    assert {name for name, kind in types.items() if kind == "counter"} == {n for n in types if n.endswith("_total")}
    assert [name for name in types if not name.startswith(("spanwise_", "process_"))] == []
    assert [name for name in types if not name.endswith(_UNITS)] == []


def test_the_process_and_the_store_are_measured(routes: OwnRoutes, store: Store) -> None:
    """Memory, CPU time, start, disk and lag are there with values that can be."""
    samples, _ = parse(_metrics(routes))
    health = store.health()

    assert samples["process_resident_memory_bytes", frozenset()] > 1_000_000
    assert samples["process_cpu_seconds_total", frozenset()] > 0
    assert samples["process_start_time_seconds", frozenset()] <= time.time()
    assert samples["spanwise_store_size_limit_bytes", frozenset()] == health.budget_bytes
    assert samples["spanwise_store_index_lag_seconds", frozenset()] >= 0
    assert samples["spanwise_collector_in_flight_bytes", frozenset()] == 0


def test_without_the_store_the_rest_is_told(counts: Counts) -> None:
    """A store that does not answer is 0 in spanwise_store_up; the collector's own figures stay."""

    class _Broken:
        def health(self) -> None:
            raise StoreError

    intake = Intake(counts)
    samples, _ = parse(_metrics(OwnRoutes(_Broken(), intake)))  # type: ignore[arg-type]
    intake.close()

    assert samples["spanwise_store_up", frozenset()] == 0
    assert ("spanwise_collector_items_received_total", frozenset({("signal", "traces")})) in samples


def test_labels_and_help_cannot_break_a_line() -> None:
    """Quotes, backslashes and line ends in a label come back as they were."""
    text = exposition([Metric("x_total", "counter", "one\ntwo\\", [({"a": AWKWARD, "b": "\\n"}, 1)])])

    samples, _ = parse(text)

    assert samples == {("x_total", frozenset({("a", AWKWARD), ("b", "\\n")})): 1}
    assert text.count("\n") == 3
