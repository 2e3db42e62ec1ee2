"""The roll-ups tell what counting every span would tell."""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from builders import MS, SECOND, make_batch, make_span
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apm_store.api import Store
from apm_store.open import open_store
from apm_store.query import HOUR_NS, MINUTE_NS, Coverage, GroupBy, SpanAggregate, StatementAggregate, TimeRange
from apm_store.sketch import RELATIVE_ERROR
from apm_store.sqlite.connections import connect_writer
from apm_store.sqlite.migrations import CATALOGUE

BASE_NS = 480_000 * HOUR_NS


@dataclass(frozen=True)
class Drawn:
    """One span of a random set."""

    service: str
    operation: str
    kind: int
    start_ns: int
    duration_ns: int
    failed: bool
    http_status: int
    is_child: bool


edges = st.sampled_from([0, 1, MINUTE_NS - 1, MINUTE_NS, HOUR_NS - 1, HOUR_NS, 2 * HOUR_NS - 1, 2 * HOUR_NS])
offsets = st.one_of(edges, st.integers(0, 4 * HOUR_NS))
drawn_spans = st.builds(
    Drawn,
    service=st.sampled_from(["shop", "pay"]),
    operation=st.sampled_from(["GET /", "GET /cart"]),
    kind=st.sampled_from([1, 2, 3]),
    start_ns=offsets.map(lambda offset: BASE_NS + offset),
    duration_ns=st.integers(0, 10**12),
    failed=st.booleans(),
    http_status=st.sampled_from([200, 404, 500]),
    is_child=st.booleans(),
)
groups = st.sets(st.sampled_from(list(GroupBy))).map(lambda chosen: tuple(sorted(chosen, key=lambda by: by.value)))
steps = st.sampled_from([None, *(minutes * MINUTE_NS for minutes in (1, 5, 7, 15, 30, 60, 120))])


def _write(store: Store, spans: list[Drawn]) -> None:
    for service in ("shop", "pay"):
        made = [
            make_span(
                span.operation,
                trace=number,
                span=number,
                parent=999_999 if span.is_child else 0,
                start_ns=span.start_ns,
                duration_ns=span.duration_ns,
                kind=span.kind,
                failed=span.failed,
                attributes={"http.response.status_code": span.http_status},
            )
            for number, span in enumerate(spans, 1)
            if span.service == service
        ]
        for half in (made[::2], made[1::2]):
            store.traces.write(make_batch(half, service))


def _brute_force(spans: list[Drawn], question: SpanAggregate) -> dict[Any, list[tuple[int, Drawn]]]:
    start = question.time_range.start_ns // MINUTE_NS * MINUTE_NS
    end = -(-question.time_range.end_ns // MINUTE_NS) * MINUTE_NS
    found: dict[Any, list[tuple[int, Drawn]]] = defaultdict(list)
    for number, span in enumerate(spans, 1):
        is_wanted = start <= span.start_ns < end and (question.service in (None, span.service))
        is_wanted = is_wanted and question.operation in (None, span.operation)
        if is_wanted and (not question.entry_only or span.kind == 2 or not span.is_child):
            step = span.start_ns // question.step_ns * question.step_ns if question.step_ns else start
            group = tuple(str(getattr(span, by.value)) for by in question.group_by)
            found[step, group].append((number, span))
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    spans=st.lists(drawn_spans, max_size=40),
    bounds=st.tuples(offsets, offsets),
    group_by=groups,
    step_ns=steps,
    service=st.sampled_from([None, "shop"]),
    operation=st.sampled_from([None, "GET /cart"]),
    entry_only=st.booleans(),
)
def test_aggregates_equal_a_count_over_all_spans(
    *,
    spans: list[Drawn],
    bounds: tuple[int, int],
    group_by: tuple[GroupBy, ...],
    step_ns: int | None,
    service: str | None,
    operation: str | None,
    entry_only: bool,
) -> None:
    """Counts, sums and maxima are exact, quantiles within 1 %, for any range, step, group and filter."""
    start, end = sorted(bounds)
    time_range = TimeRange(BASE_NS + start, BASE_NS + end + 1)
    question = SpanAggregate(time_range, group_by, step_ns, service, operation, entry_only, with_durations=True)
    with tempfile.TemporaryDirectory() as directory:
        store = open_store(Path(directory))
        _write(store, spans)

        rows = store.traces.aggregate(question)

        store.close()
    expected = _brute_force(spans, question)
    assert [(row.start_ns, row.group) for row in rows] == sorted(expected)
    for row in rows:
        _compare(row, expected[row.start_ns, row.group])


def _compare(row: Any, numbered: list[tuple[int, Drawn]]) -> None:
    spans = [span for _, span in numbered]
    failed = [span for span in spans if span.failed]
    client_errors = [span for span in spans if not span.failed and span.kind == 2 and span.http_status == 404]
    durations = sorted(span.duration_ns for span in spans)
    slowest = {f"{number:032x}" for number, span in numbered if span.duration_ns == durations[-1]}
    assert (row.count, row.failed_count, row.client_error_count) == (len(spans), len(failed), len(client_errors))
    assert (row.duration_sum_ns, row.max_duration_ns) == (sum(durations), durations[-1])
    assert row.slowest_trace_id in slowest
    assert row.ok_durations.count == len(spans) - len(failed)
    for q in (0.5, 0.95, 0.99):
        exact = durations[math.floor(q * (len(durations) - 1))]
        assert row.durations.quantile(q) == pytest.approx(exact, rel=RELATIVE_ERROR * 1.0001, abs=1)


@pytest.mark.parametrize("is_later_one_sent", [False, True])
def test_a_range_that_ends_within_an_hour_counts_no_later_span(store: Store, *, is_later_one_sent: bool) -> None:
    """The hour's row may stand for the minutes up to the end of the range, but only while no span starts behind it."""
    minutes = [1, 50, 61, 70, *([90] if is_later_one_sent else [])]
    spans = [make_span("GET /", trace=n, start_ns=n * MINUTE_NS, duration_ns=n * MS) for n in minutes]
    store.traces.write(make_batch(spans))
    time_range = TimeRange(0, 80 * MINUTE_NS)

    [row] = store.traces.aggregate(SpanAggregate(time_range, with_durations=True))
    by_step = store.traces.aggregate(SpanAggregate(time_range, step_ns=5 * MINUTE_NS))

    assert (row.count, row.durations.count, row.max_duration_ns) == (4, 4, 70 * MS)
    assert [part.start_ns // MINUTE_NS for part in by_step] == [0, 50, 60, 70]


def test_durations_are_left_out_unless_asked_for(store: Store, all_time: TimeRange) -> None:
    """Without `with_durations` both sketches are empty."""
    store.traces.write(make_batch([make_span("GET /")]))

    [row] = store.traces.aggregate(SpanAggregate(all_time))

    assert (row.count, row.durations.count, row.ok_durations.count) == (1, 0, 0)


@pytest.mark.parametrize("step_ns", [0, -MINUTE_NS, 1, MINUTE_NS + 1])
def test_a_step_is_whole_minutes(store: Store, all_time: TimeRange, step_ns: int) -> None:
    """Any other step is refused with its value."""
    with pytest.raises(ValueError, match=str(step_ns)):
        store.traces.aggregate(SpanAggregate(all_time, step_ns=step_ns))


def test_durations_of_statements_can_be_left_out(store: Store, all_time: TimeRange) -> None:
    """Without them a statement has its counts and its time, and an empty sketch."""
    store.traces.write(make_batch([_call(2, "SELECT 1", duration_ns=7), _call(3, "SELECT 2", duration_ns=9)]))

    [row] = store.traces.aggregate_statements(StatementAggregate(all_time, with_durations=False))

    assert (row.count, row.duration_sum_ns, row.durations.count) == (2, 16, 0)


def _call(number: int, text: str, **overrides: Any) -> Any:
    attributes = {"db.query.text": text, "db.system.name": "sqlite", "db.namespace": "shop.db"}
    return make_span("SELECT", span=number, parent=1, kind=3, attributes=attributes, **overrides)


def test_statements_are_summed_up_by_text(store: Store, all_time: TimeRange) -> None:
    """Calls that differ in their values only are one statement, with its count, failures and durations."""
    calls = [_call(n, f"SELECT a FROM t WHERE b = {n}", start_ns=n * MINUTE_NS, failed=n == 3) for n in (2, 3, 4)]
    old_names = {"db.statement": "SELECT a FROM t WHERE b = 9", "db.system": "sqlite", "db.name": "shop.db"}
    old = make_span("SELECT", span=5, parent=1, kind=3, attributes=old_names, duration_ns=50 * MS)
    noise = [
        _call(6, "PRAGMA foreign_keys"),
        make_span("connect", span=7, parent=1, attributes={"db.system": "sqlite"}),
    ]
    store.traces.write(make_batch([make_span("GET /"), *calls, old, *noise]))

    [row] = store.traces.aggregate_statements(StatementAggregate(all_time))
    by_minute = store.traces.aggregate_statements(StatementAggregate(all_time, step_ns=MINUTE_NS, service="shop"))

    assert (row.text, row.system, row.namespace, row.service) == (
        "SELECT a FROM t WHERE b = ?",
        "sqlite",
        "shop.db",
        "shop",
    )
    assert (row.count, row.failed_count, row.max_duration_ns) == (4, 1, 50 * MS)
    assert row.duration_sum_ns == 80 * MS
    assert row.durations.count == 4
    assert [part.start_ns // MINUTE_NS for part in by_minute] == [2, 3, 4, 16]
    assert store.traces.aggregate_statements(StatementAggregate(all_time, statement_id=row.statement_id)) == [row]
    assert store.traces.aggregate_statements(StatementAggregate(all_time, service="pay")) == []


def test_callers_are_the_nearest_entry_spans(store: Store, all_time: TimeRange) -> None:
    """Calls are counted by the entry operation above them, also through spans in between and cycles of parents."""
    text = "SELECT 1"
    entry, between = make_span("GET /", span=1), make_span("inner", span=2, parent=1, kind=1)
    deep = make_span("SELECT", span=3, parent=2, kind=3, attributes={"db.query.text": text}, start_ns=1_001 * SECOND)
    again = make_span("SELECT", span=4, parent=2, kind=3, attributes={"db.query.text": text}, start_ns=1_002 * SECOND)
    lost = make_span("SELECT", trace=2, span=5, parent=77, kind=3, attributes={"db.query.text": text})
    circle = make_span("loop", trace=3, span=6, parent=7, kind=1)
    in_circle = make_span("SELECT", trace=3, span=7, parent=6, kind=3, attributes={"db.query.text": text})
    store.traces.write(make_batch([entry, between, deep, again, lost, circle, in_circle]))
    [row] = store.traces.aggregate_statements(StatementAggregate(all_time))

    found = store.traces.statement_callers(row.statement_id, all_time)

    assert found.callers[0] == ("shop", "GET /", 2)
    assert set(found.callers[1:]) == {("shop", "SELECT", 1), ("shop", "loop", 1)}
    assert (found.sampled, found.total) == (4, 4)


def test_operations_are_those_of_entry_spans_in_the_range(store: Store) -> None:
    """Names come sorted, of the asked service and range, and of entry spans alone."""
    first = [make_span("b", trace=1), make_span("a", trace=2), make_span("inner", trace=1, span=2, parent=1, kind=1)]
    store.traces.write(make_batch(first))
    store.traces.write(make_batch([make_span("c", trace=3)], service="pay"))
    now, later = TimeRange(960 * SECOND, 1_020 * SECOND), TimeRange(1_020 * SECOND, 9_000 * SECOND)

    found = [store.traces.operations(*asked) for asked in ((None, now), ("shop", now), ("pay", now), (None, later))]

    assert found == [["a", "b", "c"], ["a", "b"], ["c"], []]


def test_coverage_counts_minutes_with_spans(store: Store) -> None:
    """Coverage tells the first and last span of the store and how many minutes of the range hold one."""
    empty = store.traces.coverage(TimeRange(0, HOUR_NS))
    starts = (5 * MINUTE_NS + 1, 5 * MINUTE_NS + 9, 7 * MINUTE_NS, 3 * HOUR_NS)
    spans = [make_span("GET /", span=n, start_ns=start) for n, start in enumerate(starts, 1)]
    store.traces.write(make_batch(spans))
    asked = TimeRange(5 * MINUTE_NS + 3, HOUR_NS)

    found = store.traces.coverage(asked)

    assert empty == Coverage(TimeRange(0, HOUR_NS), None, None, 0, 60)
    assert found == Coverage(asked, 5 * MINUTE_NS + 1, 3 * HOUR_NS, 2, 55)


def test_coverage_says_since_when_raw_data_is_whole(tmp_path: Path) -> None:
    """It begins behind the latest time that was ever removed; what lay in the future then does not count."""
    data_dir = tmp_path / "data"
    open_store(data_dir).close()
    with closing(connect_writer(data_dir / "spanwise.db", CATALOGUE)) as connection:
        for last_ns in (700, 500, 2**63 - 1):
            row = (1_000, "size", 0, last_ns, 1, 0, 0, 1, 0)
            connection.execute("INSERT INTO prune VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            store = open_store(data_dir, read_only=True)
            found = store.traces.coverage(TimeRange(0, HOUR_NS)).raw_since_ns
            store.close()

            assert found == (1_001 if last_ns > 1_000 else 701)


def test_services_keep_their_slots_and_times(store: Store) -> None:
    """A service is seen from its first to its last span start; its slot is the order of its arrival."""
    store.traces.write(make_batch([make_span("x", trace=1, start_ns=50)], service="zoo"))
    store.traces.write(make_batch([make_span("x", trace=2, start_ns=70)], service="ant"))
    store.traces.write(make_batch([make_span("x", trace=3, start_ns=20), make_span("x", trace=4, start_ns=90)], "zoo"))

    found = [(info.name, info.slot, info.first_seen_ns, info.last_seen_ns) for info in store.traces.services()]

    assert found == [("ant", 1, 70, 70), ("zoo", 0, 20, 90)]
