"""Log records are found by trace, span, service, severity and time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from builders import SECOND
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from apm_store.api import Store
from apm_store.model import Batch
from apm_store.query import LogQuery, TimeRange

TRACE = f"{1:032x}"


def _record(text: str, seconds: int, trace: int = 0, span: int = 0, severity: int = 9, **fields: Any) -> LogRecord:
    record = LogRecord(time_unix_nano=seconds * SECOND, severity_number=severity, **fields)
    record.body.CopyFrom(AnyValue(string_value=text))
    record.trace_id = trace.to_bytes(16, "big") if trace else b""
    record.span_id = span.to_bytes(8, "big") if span else b""
    return record


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (LogQuery(), ["now", "d", "c", "b", "a"]),
        (LogQuery(limit=2), ["now", "d"]),
        (LogQuery(limit=0), []),
        (LogQuery(time_range=TimeRange(2 * SECOND, 4 * SECOND)), ["c", "b"]),
        (LogQuery(trace_id=TRACE), ["c", "a"]),
        (LogQuery(trace_id=TRACE.upper()), ["c", "a"]),
        (LogQuery(trace_id=TRACE, span_id=f"{7:016x}"), ["c"]),
        (LogQuery(trace_id="no hex"), []),
        (LogQuery(service="pay"), ["d"]),
        (LogQuery(min_severity_number=17), ["b"]),
        (LogQuery(event_name="cart.emptied"), ["c", "a"]),
        (LogQuery(event_name="cart.emptied", trace_id=TRACE, span_id=f"{5:016x}"), ["a"]),
        (LogQuery(event_name="cart"), []),
        (LogQuery(without_events=("cart.emptied", "cart")), ["now", "d", "b"]),
        (LogQuery(without_events=("cart.emptied",), limit=2), ["now", "d"]),
        (LogQuery(without_events=("cart.emptied",), trace_id=TRACE), []),
        (LogQuery(without_events=("cart",), trace_id=TRACE), ["c", "a"]),
        (LogQuery(service="shop", time_range=TimeRange(0, 3 * SECOND), min_severity_number=9), ["b", "a"]),
    ],
)
def test_exactly_the_described_records_are_found(
    store: Store, make_logs: Callable[..., Batch], query: LogQuery, expected: list[str]
) -> None:
    """Among five records each question finds those that meet it, newest first."""
    emptied = {"event_name": "cart.emptied"}
    records = [
        _record("a", 1, trace=1, span=5, **emptied),
        _record("b", 2, severity=17),
        _record("c", 3, trace=1, span=7, **emptied),
    ]
    store.logs.write(make_logs(records))
    store.logs.write(make_logs([_record("d", 4)], service="pay"))
    store.logs.write(make_logs([_record("now", 0)]))

    found = store.logs.find(query)

    assert [record.body for record in found] == expected


def test_a_record_without_a_time_is_found_under_its_observed_time(
    store: Store, make_logs: Callable[..., Batch]
) -> None:
    """The observed time stands in for the index; the record keeps the time it was sent with."""
    store.logs.write(make_logs([_record("late", 0, observed_time_unix_nano=5 * SECOND)]))

    [record] = store.logs.find(LogQuery(time_range=TimeRange(5 * SECOND, 6 * SECOND)))

    assert (record.time_ns, record.observed_time_ns, record.service) == (0, 5 * SECOND, "shop")


def test_extreme_times_and_a_repeated_body(store: Store, make_logs: Callable[..., Batch]) -> None:
    """A time of 2^64-1 is stored, equal records of one body are all kept, and the body again is a duplicate."""
    record = _record("end", 0)
    record.time_unix_nano = 2**64 - 1
    batch = make_logs([record, record])
    store.logs.write(batch)
    store.logs.write(batch)

    assert [found.time_ns for found in store.logs.find(LogQuery())] == [2**64 - 1] * 2
    assert (store.health().stored["logs"], store.health().duplicates["logs"]) == (2, 2)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (LogQuery(), ["f", "e", "d", "c", "b", "a"]),
        (LogQuery(limit=3), ["f", "e", "d"]),
        (LogQuery(limit=4, service="shop"), ["f", "e", "c", "a"]),
        (LogQuery(limit=0), []),
        (LogQuery(trace_id=TRACE), ["f", "a"]),
        (LogQuery(time_range=TimeRange(2 * SECOND, 6 * SECOND), limit=2), ["e", "d"]),
        (LogQuery(service="nobody"), []),
    ],
)
def test_the_newest_of_all_segments_are_found(
    in_segments: Callable[..., Store], make_logs: Callable[..., Batch], query: LogQuery, expected: list[str]
) -> None:
    """A limit cuts what is oldest over all segments, whichever segment came first."""
    late_and_early = make_logs([_record("f", 6, trace=1), _record("a", 1, trace=1)])
    store = in_segments(
        late_and_early,
        make_logs([_record("b", 2), _record("d", 4)], service="pay"),
        make_logs([_record("c", 3), _record("e", 5)]),
    )

    found = store.logs.find(query)

    assert [record.body for record in found] == expected


def test_records_of_one_time_come_in_reverse_order_of_arrival(
    in_segments: Callable[..., Store], make_logs: Callable[..., Batch]
) -> None:
    """Within a request and across segments the later one stands first."""
    store = in_segments(make_logs([_record("a", 1), _record("b", 1)]), make_logs([_record("c", 1)]))

    assert [record.body for record in store.logs.find(LogQuery(limit=2))] == ["c", "b"]
