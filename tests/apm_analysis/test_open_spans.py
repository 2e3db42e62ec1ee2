"""Open spans from the records that tell of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import SECOND
from runtime_records import T0, make_log_batch, make_log_record, make_open_record

from apm_analysis.open_spans import is_silent, open_spans, root_most
from apm_store.model import LogRecord, SpanKind
from apm_store.otlp_decode import decode_log_records


def records_of(*made: object) -> list[LogRecord]:
    """The records as the store gives them."""
    request = make_log_batch(made).request  # type: ignore[arg-type]
    return [record for _, record in decode_log_records(request)]


def span_id(number: int) -> str:
    """The id that the builders give to a small number."""
    return f"{number:016x}"


def test_a_record_becomes_the_span_as_last_heard_of() -> None:
    """Name, kind, parent, times, attributes so far, place and service are those of the record."""
    place = ("/srv/shop/pay.py", 41, "pay.authorize")

    (span,) = open_spans(
        records_of(
            make_open_record("charge", span=2, parent=1, open_ns=3 * SECOND, so_far={"card": "visa"}, place=place)
        )
    )

    assert (span.name, span.kind, span.span_id, span.parent_span_id) == (
        "charge",
        SpanKind.SERVER,
        span_id(2),
        span_id(1),
    )
    assert (span.is_open, span.start_ns, span.end_ns, span.duration_ns) == (True, T0, T0 + 3 * SECOND, 3 * SECOND)
    assert span.attributes == {
        "card": "visa",
        "code.file.path": "/srv/shop/pay.py",
        "code.line.number": 41,
        "code.function.name": "pay.authorize",
    }
    assert (span.service, span.is_error) == ("shop", False)


@pytest.mark.parametrize("order", [(1, 31), (31, 1)])
def test_the_newest_record_of_a_span_counts(order: tuple[int, int]) -> None:
    """Of several records of one span the one that it was open longest by is taken, in whatever order they come."""
    found = open_spans(records_of(*(make_open_record("wait", open_ns=seconds * SECOND) for seconds in order)))

    assert [span.duration_ns for span in found] == [31 * SECOND]


def test_a_span_that_has_arrived_is_left_out() -> None:
    """Its id is among the finished ones."""
    records = records_of(make_open_record("done", span=1), make_open_record("hangs", span=2))

    assert [span.name for span in open_spans(records, {span_id(1)})] == ["hangs"]


def test_what_tells_of_no_span_is_left_out() -> None:
    """Records of other events, and those without ids or usable times, make no span."""
    log, good = records_of(make_log_record("hello"), make_open_record("good"))
    bad = [
        log,
        replace(good, span_id=""),
        replace(good, attributes={**good.attributes, "span.start_time_unix_nano": "yesterday"}),
        replace(good, attributes={**good.attributes, "span.open_duration_ns": -1}),
        replace(good, attributes={**good.attributes, "span.open_duration_ns": True}),
    ]

    assert open_spans(bad) == []


def test_odd_values_are_read_as_unknown() -> None:
    """A kind that is none and a body that is no map cost neither the span nor its other facts."""
    (good,) = records_of(make_open_record("odd"))
    told = {**good.attributes, "span.kind": "sideways", "span.name": 7, "span.parent_span_id": 7}

    (span,) = open_spans([replace(good, attributes=told, body="text")])

    assert (span.kind, span.name, span.parent_span_id, span.attributes) == (SpanKind.UNSPECIFIED, "", "", {})


@pytest.mark.parametrize(("seconds", "silent"), [(45, False), (46, True)])
def test_silence_begins_after_45_s(seconds: int, silent: bool) -> None:
    """A record is expected every 30 s; one and a half of that without any is silence."""
    (span,) = open_spans(records_of(make_open_record("wait", open_ns=SECOND)))

    assert is_silent(span, T0 + SECOND + seconds * SECOND) is silent


def test_the_root_most_of_each_trace_longest_first() -> None:
    """A span whose parent is open stands behind it; traces come by how long they are open."""
    records = records_of(
        make_open_record("child", trace=1, span=2, parent=1, open_ns=4 * SECOND),
        make_open_record("root", trace=1, span=1, open_ns=4 * SECOND),
        make_open_record("remote parent", trace=2, span=3, parent=77, open_ns=9 * SECOND),
    )

    assert [span.name for span in root_most(open_spans(records))] == ["remote parent", "root"]
