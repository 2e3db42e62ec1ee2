"""Reading a trace once for the page and for the waterfall."""

from __future__ import annotations

import json

from builders import MS, SECOND, make_batch, make_span
from runtime_records import make_log_batch, make_open_record

from apm_store.api import Store
from apm_ui.trace_reading import TraceReader, reader_of

TRACE = "1".zfill(32)


def write_checkout(store: Store) -> None:
    """A root of 100 ms with a stock call of 60 ms below it that fails in its query of 20 ms."""
    start_ns = 1_000 * SECOND
    store.traces.write(
        make_batch([make_span("POST /checkout", span=1, start_ns=start_ns, duration_ns=100 * MS, failed=True)], "shop")
    )
    stock = [
        make_span("reserve", span=2, parent=1, start_ns=start_ns + 10 * MS, duration_ns=60 * MS, failed=True),
        make_span("SELECT", span=3, parent=2, start_ns=start_ns + 20 * MS, duration_ns=20 * MS, failed=True),
    ]
    store.traces.write(make_batch(stock, "stock"))


def test_an_unknown_trace_is_none(store: Store) -> None:
    """A trace without spans has no reading."""
    assert TraceReader(store).read("f" * 32) is None


def test_the_facts_of_a_trace(store: Store) -> None:
    """Root, sizes, self time and the failed span that lies deepest are those of the spans."""
    write_checkout(store)

    reading = TraceReader(store).read(TRACE)

    assert reading is not None
    assert (reading.root.operation, reading.root.duration_ns, reading.root.is_error) == (
        "POST /checkout",
        100 * MS,
        True,
    )
    assert (reading.span_count, reading.service_count, reading.error_count) == (3, 2, 3)
    assert (reading.root_count, reading.orphan_count, reading.is_root_missing) == (1, 0, False)
    assert reading.culprit is not None
    assert reading.culprit.operation == "SELECT"
    assert {(name, ns) for name, _, ns in reading.self_time} == {("shop", 40 * MS), ("stock", 60 * MS)}
    assert reading.top_operations == (("reserve", 1, 40 * MS), ("SELECT", 1, 20 * MS))
    assert reading.self_time_ns("2".zfill(16)) == 40 * MS
    assert reading.self_time_ns("9".zfill(16)) is None


def test_the_payload_holds_the_columns(store: Store) -> None:
    """What the script fetches is the JSON of the trace's columns."""
    write_checkout(store)

    reading = TraceReader(store).read(TRACE)

    assert reading is not None
    assert json.loads(reading.payload)["total"] == 3


def test_an_unchanged_store_is_not_read_again(store: Store) -> None:
    """The same reading is given for as long as nothing was committed."""
    write_checkout(store)
    reader = TraceReader(store)

    assert reader.read(TRACE) is reader.read(TRACE)


def test_a_late_span_changes_the_revision_and_a_foreign_one_does_not(store: Store) -> None:
    """The waterfall is fetched again only when its own trace grew."""
    write_checkout(store)
    reader = TraceReader(store)
    before = reader.read(TRACE)
    store.traces.write(make_batch([make_span("other", trace=7)]))
    foreign = reader.read(TRACE)
    store.traces.write(make_batch([make_span("late", span=4, parent=1, start_ns=1_001 * SECOND)]))
    late = reader.read(TRACE)

    assert before is not None
    assert foreign is not None
    assert late is not None
    assert before.revision == foreign.revision != late.revision
    assert late.span_count == 4


def test_a_trace_whose_root_is_missing_says_so(store: Store) -> None:
    """Without any span that has no parent, the earliest orphan stands for the trace."""
    store.traces.write(make_batch([make_span("lost", span=2, parent=1)]))

    reading = TraceReader(store).read(TRACE)

    assert reading is not None
    assert (reading.is_root_missing, reading.orphan_count, reading.root.operation) == (True, 1, "lost")


def test_a_store_has_one_reader(store: Store) -> None:
    """Page and route of a store share what was read."""
    assert reader_of(store) is reader_of(store)


def test_a_trace_of_open_spans_alone_is_read(store: Store) -> None:
    """Where no span has ended, the records of open ones are the trace."""
    store.logs.write(make_log_batch([make_open_record("GET /hangs", open_ns=3 * SECOND)]))

    reading = TraceReader(store).read(TRACE)

    assert reading is not None
    assert (reading.root.operation, reading.root.duration_ns, reading.span_count) == ("GET /hangs", 3 * SECOND, 1)
    assert [span.name for span in reading.open_spans] == ["GET /hangs"]


def test_an_open_root_takes_its_finished_children(store: Store) -> None:
    """Spans that have ended below an open one are no orphans, and the same span is there once when it ends."""
    child = make_span("SELECT", span=2, parent=1, start_ns=1_000 * SECOND)
    store.traces.write(make_batch([child]))
    store.logs.write(make_log_batch([make_open_record("GET /hangs", span=1)]))
    reader = TraceReader(store)
    before = reader.read(TRACE)
    store.traces.write(make_batch([make_span("GET /hangs", span=1, start_ns=1_000 * SECOND, duration_ns=2 * SECOND)]))
    after = reader.read(TRACE)

    assert before is not None
    assert after is not None
    assert (before.span_count, before.orphan_count, before.is_root_missing) == (2, 0, False)
    assert (after.span_count, after.open_spans, after.root.duration_ns) == (2, (), 2 * SECOND)


def test_a_subtree_is_a_span_and_all_below(store: Store) -> None:
    """The ids of a span and its descendants; none for an unknown span."""
    write_checkout(store)

    reading = TraceReader(store).read(TRACE)

    assert reading is not None
    assert reading.subtree("2".zfill(16)) == {"2".zfill(16), "3".zfill(16)}
    assert reading.subtree("9".zfill(16)) == frozenset()
