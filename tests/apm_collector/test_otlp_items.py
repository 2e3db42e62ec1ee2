"""Validity of spans and log records."""

from __future__ import annotations

import pytest
from builders import make_request, make_span
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from apm_collector.otlp_items import Findings, keep_valid_log_records, keep_valid_spans

TRACE_ID, SPAN_ID = b"t" * 16, b"s" * 8


@pytest.mark.parametrize(
    ("field", "value", "cause"),
    [
        ("trace_id", b"", "trace id is empty"),
        ("trace_id", bytes(16), "trace id is all zero"),
        ("trace_id", b"x" * 12, "trace id is 12 bytes, 16 are needed (base64 ids?)"),
        ("trace_id", b"?", "trace id is not hexadecimal (base64 ids?)"),
        ("span_id", b"", "span id is empty"),
        ("span_id", bytes(8), "span id is all zero"),
        ("span_id", b"x" * 16, "span id is 16 bytes, 8 are needed (base64 ids?)"),
    ],
)
def test_a_span_without_valid_ids_is_rejected_alone(field: str, value: bytes, cause: str) -> None:
    """Its neighbours stay, and the cause is told."""
    bad = make_span("bad")
    setattr(bad, field, value)
    request = make_request([make_span("a", span=2), bad, make_span("b", span=3)])
    findings = Findings()

    left = keep_valid_spans(request, findings)

    assert left == 2
    assert request == make_request([make_span("a", span=2), make_span("b", span=3)])
    assert findings.message("spans") == f"1 span rejected: {cause}"
    assert findings.causes == {f"invalid_{field}": 1}


@pytest.mark.parametrize(
    ("parent", "remark"),
    [(b"abc", "cleared: parent span id is 3 bytes, 8 are needed (base64 ids?) (1)"), (bytes(8), "")],
)
def test_a_bad_parent_id_makes_a_root(parent: bytes, remark: str) -> None:
    """The span is kept; an all-zero parent is a usual way to say root and needs no remark."""
    span = make_span("op")
    span.parent_span_id = parent
    request, findings = make_request([span]), Findings()

    assert keep_valid_spans(request, findings) == 1

    assert request == make_request([make_span("op")])
    assert findings.message("spans") == remark
    assert findings.is_changed


def test_bad_ids_of_links_are_cleared() -> None:
    """A link that leads nowhere does not cost its span."""
    span = make_span("op")
    span.links.add(trace_id=b"short", span_id=SPAN_ID)
    request, findings = make_request([span]), Findings()

    assert keep_valid_spans(request, findings) == 1

    link = request.resource_spans[0].scope_spans[0].spans[0].links[0]
    assert (link.trace_id, link.span_id) == (b"", SPAN_ID)


def test_links_of_the_spans_that_stay_are_cleared_too() -> None:
    """Taking a neighbour out does not hide them."""
    span, bad = make_span("op"), make_span("bad", trace=0)
    span.links.add(trace_id=TRACE_ID, span_id=b"short")
    request, findings = make_request([bad, span]), Findings()

    assert keep_valid_spans(request, findings) == 1

    assert request.resource_spans[0].scope_spans[0].spans[0].links[0].span_id == b""


@pytest.mark.parametrize(
    ("start", "remark"),
    [
        (1_790_000_000, "times look like seconds, nanoseconds are needed (1)"),
        (1_790_000_000_000, "times look like milliseconds, nanoseconds are needed (1)"),
        (1_790_000_000_000_000, "times look like microseconds, nanoseconds are needed (1)"),
        (1_790_000_000_000_000_000, ""),
        (0, ""),
        (1_000, ""),
        (2**64 - 1, ""),
    ],
)
def test_times_in_another_unit_are_remarked_on(start: int, remark: str) -> None:
    """They are kept as sent; what only looks old does not get a remark."""
    request, findings = make_request([make_span("op", start_ns=start, duration_ns=0)]), Findings()

    assert keep_valid_spans(request, findings) == 1

    assert findings.message("spans") == remark
    assert not findings.is_changed


def test_a_valid_request_is_not_touched() -> None:
    """Nothing is found, nothing is changed."""
    span = make_span("op", parent=7)
    span.links.add(trace_id=TRACE_ID, span_id=SPAN_ID)
    request, findings = make_request([span]), Findings()

    assert keep_valid_spans(request, findings) == 1
    assert not findings.is_changed


@pytest.mark.parametrize(
    ("trace_id", "span_id", "kept", "has_remark"),
    [
        (TRACE_ID, SPAN_ID, (TRACE_ID, SPAN_ID), False),
        (TRACE_ID, b"", (TRACE_ID, b""), False),
        (b"", b"", (b"", b""), False),
        (bytes(16), bytes(8), (b"", b""), False),
        (b"short", SPAN_ID, (b"", b""), True),
        (TRACE_ID, b"short", (TRACE_ID, b""), True),
        (b"", SPAN_ID, (b"", b""), True),
    ],
)
def test_a_log_record_with_bad_ids_is_unlinked(
    trace_id: bytes, span_id: bytes, kept: tuple[bytes, bytes], has_remark: bool
) -> None:
    """Log records are always kept; a link that cannot lead to a span is cleared."""
    request, findings = ExportLogsServiceRequest(), Findings()
    record = request.resource_logs.add().scope_logs.add().log_records.add(trace_id=trace_id, span_id=span_id)

    assert keep_valid_log_records(request, findings) == 1

    assert (record.trace_id, record.span_id) == kept
    assert bool(findings.message("log records")) is has_remark


def test_a_message_names_the_five_most_frequent_causes() -> None:
    """A request with a thousand faults gets a message that can be read."""
    findings = Findings()
    for number in range(9):
        findings.reject("invalid_span_id", f"cause {number}", items=number + 1)

    message = findings.message("spans")

    assert message.startswith("9 spans rejected: cause 8; 8 spans rejected: cause 7")
    assert message.count(";") == 4
