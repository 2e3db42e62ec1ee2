"""Policies give thresholds, and thresholds keep counts right."""

from __future__ import annotations

import random
import re

import pytest
from builders import make_span
from hypothesis import given
from hypothesis import strategies as st

from apm_collector.sampling import (
    NEVER,
    RateLimit,
    Trace,
    always,
    both,
    either,
    has_status,
    lasts,
    raise_threshold,
    randomness_of,
    share,
)


def weight(trace_state: str) -> float:
    """How many spans a kept span stands for, as the specification has it."""
    match = re.search(r"ot=[^,]*th:([0-9a-f]{1,14})", trace_state)
    return NEVER / (NEVER - int(match[1].ljust(14, "0"), 16)) if match else 1.0


def traces_of(count: int, seed: int = 1, spans: int = 1) -> list[Trace]:
    rng = random.Random(seed)
    return [Trace(rng.getrandbits(56), spans=spans, start_ns=0, end_ns=10, statuses={0}) for _ in range(count)]


def kept(traces: list[Trace], thresholds: list[int]) -> list[float]:
    """The weights of the traces that are kept."""
    pairs = zip(traces, thresholds, strict=True)
    return [
        weight(raise_threshold("", threshold)) * trace.spans
        for trace, threshold in pairs
        if trace.randomness >= threshold
    ]


def test_a_share_of_traces_stands_for_all() -> None:
    """Ten percent are kept, and their weights add up to the number of all, within five standard deviations."""
    traces = traces_of(20_000)

    weights = kept(traces, share(10)(traces, 1.0))

    assert len(weights) == pytest.approx(2000, rel=0.12)
    assert sum(weights) == pytest.approx(20_000, rel=0.12)


def test_errors_weigh_one_beside_a_share_of_the_rest() -> None:
    """The lowest threshold wins, so each kind of trace has its own weight and the sum is right."""
    traces = traces_of(10_000)
    for trace in traces[:100]:
        trace.statuses = {0, 2}

    thresholds = either([has_status(frozenset({2})), share(10)])(traces, 1.0)

    assert thresholds[:100] == [0] * 100
    assert sum(kept(traces, thresholds)) == pytest.approx(10_000, rel=0.15)


def test_a_rate_limit_keeps_counts_right_too() -> None:
    """Over many rounds the weights of what is kept add up to all spans, and the rate is kept."""
    limit, total, kept_spans, rounds = RateLimit(50), 0.0, 0, 300
    for number in range(rounds):
        traces = traces_of(200, seed=number, spans=3)
        weights = kept(traces, limit(traces, 1.0))
        total += sum(weights)
        kept_spans += 3 * len(weights)

    assert kept_spans == pytest.approx(50 * rounds, rel=0.02)
    assert total == pytest.approx(600 * rounds, rel=0.05)


def test_below_its_rate_a_limit_keeps_all() -> None:
    """A threshold of 0 is a weight of 1."""
    traces = traces_of(10)

    assert RateLimit(100)(traces, 1.0) == [0] * 10


def test_a_trace_larger_than_the_rate_is_kept_and_paid_for_later() -> None:
    """No trace is too large to be ever kept, and the rate holds in the long run."""
    limit = RateLimit(10)

    outcomes = [len(kept([trace], limit([trace], 1.0))) for trace in traces_of(10, spans=50)]

    assert sum(outcomes) == 2


def test_and_asks_the_next_about_those_that_are_left() -> None:
    """A rate limit behind a status spends its rate on traces of that status."""
    traces = traces_of(10)
    for trace in traces[5:]:
        trace.statuses = {2}

    thresholds = both([has_status(frozenset({2})), RateLimit(5)])(traces, 1.0)

    assert thresholds == [NEVER] * 5 + [0] * 5


@pytest.mark.parametrize(
    ("low", "high", "duration_ms", "is_wanted"),
    [(10, 0, 10, True), (10, 0, 9, False), (10, 20, 20, True), (10, 20, 21, False), (10, 20, 10, False)],
)
def test_latency_has_the_bounds_of_upstream(low: int, high: int, duration_ms: int, is_wanted: bool) -> None:
    """At least the threshold; with an upper bound, above the threshold and up to the bound."""
    trace = Trace(0)
    trace.add(make_span("a", start_ns=1_000, duration_ns=duration_ms * 1_000_000))

    assert lasts(low, high)([trace], 1.0) == [0 if is_wanted else NEVER]


def test_a_trace_is_as_long_as_from_its_first_start_to_its_last_end() -> None:
    """Spans come in any order; statuses add up."""
    trace = Trace(0)
    trace.add(make_span("late", start_ns=500, duration_ns=100, failed=True))
    trace.add(make_span("early", start_ns=100, duration_ns=100))

    assert (trace.start_ns, trace.end_ns, trace.spans, trace.statuses) == (100, 600, 2, {0, 2})
    assert always([trace], 1.0) == [0]


@pytest.mark.parametrize(
    ("before", "threshold", "after"),
    [
        ("", 0, ""),
        ("", NEVER // 2, "ot=th:8"),
        ("", round(0.99 * NEVER), "ot=th:fd70a3d70a3d7"),
        ("vendor=1", NEVER // 2, "ot=th:8,vendor=1"),
        ("vendor=1,ot=rv:0123456789abcd;th:4", NEVER // 2, "ot=th:8;rv:0123456789abcd,vendor=1"),
        ("ot=th:c,vendor=1", NEVER // 2, "ot=th:c,vendor=1"),
    ],
)
def test_the_tracestate_says_the_threshold(before: str, threshold: int, after: str) -> None:
    """Trailing zeros go, other members stay, and a threshold is never lowered."""
    assert raise_threshold(before, threshold) == after


def test_randomness_is_rv_or_the_end_of_the_trace_id() -> None:
    """56 bits either way."""
    span = make_span("a", trace=0x1234567890ABCDEF1234567890ABCDEF)
    assert randomness_of(span) == 0x34567890ABCDEF

    span.trace_state = "x=rv:1,ot=th:8;rv:0000000000000a"
    assert randomness_of(span) == 10


@given(st.integers(1, NEVER - 1))
def test_any_threshold_is_written_without_loss(threshold: int) -> None:
    """What the tracestate says is the threshold to the last bit."""
    assert weight(raise_threshold("", threshold)) == NEVER / (NEVER - threshold)
