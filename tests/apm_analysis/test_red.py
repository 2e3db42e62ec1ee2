"""Rate, errors, duration and Apdex of requests in a real store."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from builders import SECOND, make_batch, make_span

from apm_analysis.red import MAX_STEPS, apdex, choose_step_ns, operation_red, overall_series, service_red
from apm_store.api import Store
from apm_store.query import HOUR_NS, MINUTE_NS, AggregateRow, TimeRange

START_NS = 1_764_000_000_000_000_000
HOUR = TimeRange(START_NS, START_NS + HOUR_NS)
Write = Callable[..., None]


@pytest.mark.parametrize(
    ("length_ns", "step_ns"),
    [
        (0, MINUTE_NS),
        (5 * MINUTE_NS, MINUTE_NS),
        (HOUR_NS, MINUTE_NS),
        (6 * HOUR_NS, 5 * MINUTE_NS),
        (24 * HOUR_NS, 15 * MINUTE_NS),
        (168 * HOUR_NS, 2 * HOUR_NS),
        (720 * HOUR_NS, 12 * HOUR_NS),
        (1000 * 24 * HOUR_NS, 240 * HOUR_NS),
    ],
)
def test_steps_are_round_and_few(length_ns: int, step_ns: int) -> None:
    """A range of any length has at most 100 steps of whole minutes."""
    chosen = choose_step_ns(TimeRange(START_NS, START_NS + length_ns))

    assert chosen == step_ns
    assert length_ns / chosen <= MAX_STEPS


def test_a_services_requests_are_counted_by_outcome(store: Store, write: Write) -> None:
    """Failures and 4xx are counted apart, percentiles come from the durations, the rate from the range."""
    write("shop", [(START_NS + MINUTE_NS, 100, False)] * 90 + [(START_NS + 2 * MINUTE_NS, 900, True)] * 9)
    write("shop", [(START_NS, 10, False)], attributes={"http.response.status_code": 404})
    write("bank", [(START_NS, 50, False)])

    shop, bank = service_red(store, HOUR)

    assert (shop.service, shop.count, shop.failed_count, shop.client_error_count) == ("shop", 100, 9, 1)
    assert (shop.rate_per_second, shop.failed_share) == (pytest.approx(100 / 3600), 0.09)
    assert [shop.p50_ns, shop.p95_ns, shop.p99_ns] == pytest.approx([100e6, 900e6, 900e6], rel=0.01)
    assert shop.apdex == 0.91
    assert (bank.service, bank.count, bank.failed_share, bank.apdex) == ("bank", 1, 0, 1)


def test_a_series_has_every_step_of_the_range(store: Store, write: Write) -> None:
    """Steps without requests have 0 requests and no percentiles; the series adds up to the whole."""
    write("shop", [(START_NS + 90_000_000_000, 100, False), (START_NS + 59 * MINUTE_NS, 300, True)])

    (shop,) = service_red(store, HOUR)

    assert [point.start_ns for point in shop.series] == [START_NS + step * MINUTE_NS for step in range(60)]
    assert [point.count for point in shop.series] == [0, 1, *[0] * 57, 1]
    assert shop.series[0].p50_ns is None
    assert shop.series[59].failed_count == 1
    assert shop.series[1].p95_ns == pytest.approx(100e6, rel=0.01)


def test_the_range_begins_with_a_whole_step(store: Store, write: Write) -> None:
    """With a step of its own the range is widened to the step that it begins in."""
    write("shop", [(START_NS, 1, False), (START_NS + 7 * MINUTE_NS, 1, False)])
    time_range = TimeRange(START_NS + 5 * MINUTE_NS, START_NS + 15 * MINUTE_NS)

    (shop,) = service_red(store, time_range, step_ns=10 * MINUTE_NS)

    assert [(point.start_ns, point.count) for point in shop.series] == [
        (START_NS, 2),
        (START_NS + 10 * MINUTE_NS, 0),
    ]
    assert shop.rate_per_second == pytest.approx(2 / 900)


def test_an_empty_store_has_no_services(store: Store) -> None:
    """Without requests there are no services or operations, and an empty series."""
    series = overall_series(store, HOUR, 10 * MINUTE_NS)

    assert (service_red(store, HOUR), operation_red(store, HOUR)) == ([], [])
    assert [(point.count, point.p50_ns) for point in series] == [(0, None)] * 6


def test_operations_are_ranked_by_total_time(store: Store, write: Write) -> None:
    """One slow operation comes before a frequent fast one, and names its slowest trace."""
    write("shop", [(START_NS, 10, False)] * 20, operation="GET /fast")
    write("shop", [(START_NS, 3000, False), (START_NS, 900, True)], operation="GET /slow")
    write("bank", [(START_NS, 5, False)], operation="GET /fast")

    slow, fast, bank = operation_red(store, HOUR)

    assert (slow.service, slow.operation, slow.count, slow.failed_count) == ("shop", "GET /slow", 2, 1)
    assert (slow.total_ns, slow.max_ns) == (3_900_000_000, 3_000_000_000)
    assert slow.slowest_trace_id == f"{21:032x}"
    assert slow.apdex == 0
    assert (fast.operation, fast.count, fast.total_ns) == ("GET /fast", 20, 200_000_000)
    assert (bank.service, bank.failed_share) == ("bank", 0)
    assert [red.service for red in operation_red(store, HOUR, "bank")] == ["bank"]


def test_the_overall_series_counts_all_services_or_one(store: Store, write: Write) -> None:
    """A step's point counts the requests of every service, unless one is asked for."""
    write("shop", [(START_NS + 11 * MINUTE_NS, 100, False)] * 3)
    write("bank", [(START_NS + 12 * MINUTE_NS, 800, True)])

    every = overall_series(store, HOUR, 10 * MINUTE_NS)
    bank = overall_series(store, HOUR, 10 * MINUTE_NS, "bank")

    assert [point.count for point in every] == [0, 4, 0, 0, 0, 0]
    assert (every[1].failed_count, every[1].p50_ns) == (1, pytest.approx(100e6, rel=0.02))
    assert [point.count for point in bank] == [0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_counts_and_apdex_agree_with_raw_counting(store: Store, write: Write, seed: int) -> None:
    """Random requests are counted, and scored by the formula, as one would by hand."""
    dice = random.Random(seed)
    durations = [dice.uniform(1, 480) if dice.random() < 0.5 else dice.uniform(520, 5000) for _ in range(500)]
    clear = [ms for ms in durations if abs(ms - 2000) > 40]  # the sketch is 1 % wide
    sample = [(START_NS + dice.randrange(HOUR_NS), ms, dice.random() < 0.1) for ms in clear]
    write("shop", sample)

    (shop,) = service_red(store, HOUR)

    satisfied = sum(ms <= 500 for _, ms, is_failed in sample if not is_failed)
    tolerating = sum(500 < ms <= 2000 for _, ms, is_failed in sample if not is_failed)
    assert shop.count == sum(point.count for point in shop.series) == len(sample)
    assert shop.failed_count == sum(is_failed for *_, is_failed in sample)
    assert shop.apdex == pytest.approx((satisfied + tolerating / 2) / len(sample))


def test_apdex_of_no_requests_is_unknown() -> None:
    """Nobody was satisfied or frustrated."""
    assert apdex(AggregateRow((), 0, 0, 0, 0, 0, 0, "")) is None


def test_a_rate_counts_from_the_first_span_that_was_stored(store: Store) -> None:
    """Time before anything was measured does not thin a rate out; a range inside the data is divided whole."""
    first_ns = START_NS
    spans = [make_span("GET /", trace=n + 1, start_ns=first_ns + n * SECOND) for n in range(60)]
    store.traces.write(make_batch(spans))

    young = service_red(store, TimeRange(first_ns - 3_540 * SECOND, first_ns + 60 * SECOND))
    whole = service_red(store, TimeRange(first_ns, first_ns + 120 * SECOND))

    assert [red.rate_per_second for red in young] == [pytest.approx(1.0)]
    assert [red.rate_per_second for red in whole] == [pytest.approx(0.5)]
