"""A block holds its spans field by field, and finds a trace among them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apm_store.sqlite.block import Block, BlockSpan, Zone, pack_block, read_zones, zones_of

_COUNTS = st.integers(0, 2**32 - 1)
_TIMES = st.integers(0, 2**63 - 1)
_SPANS = st.builds(
    BlockSpan,
    trace_id=st.sampled_from([b"a" * 16, b"ab" * 8, b"ba" * 8]) | st.binary(min_size=16, max_size=16),
    span_id=st.binary(min_size=8, max_size=8),
    parent_span_id=st.binary(min_size=8, max_size=8),
    start_ns=_TIMES,
    duration_ns=_TIMES,
    service_id=_COUNTS,
    operation_id=_COUNTS,
    kind=st.integers(-(2**31), 2**31 - 1),
    outcome=st.sampled_from([0, 1, 2]),
    http_status=st.integers(0, 999),
    statement_id=_COUNTS,
    is_entry=st.booleans(),
    seq=st.integers(1, 2**32 - 1),
)


@given(st.lists(_SPANS, min_size=1, max_size=40))
def test_spans_are_read_back_as_they_were_packed(spans: list[BlockSpan]) -> None:
    """All fields come back; entry spans stand first, and each part keeps its order."""
    block = Block(pack_block(spans))

    assert list(block.spans()) == sorted(spans, key=lambda span: not span.is_entry)
    assert block.entry_count == sum(span.is_entry for span in spans)
    for trace_id in {span.trace_id for span in spans} | {b"ab" * 7 + b"no"}:
        rows = block.rows_of_trace(trace_id)
        assert [block.span(row) for row in rows] == [span for span in block.spans() if span.trace_id == trace_id]
    assert [block.key(row) for row in range(len(spans))] == [(s.trace_id, s.span_id, s.kind) for s in block.spans()]
    span_ids = [span.span_id for span in spans[::2]]
    assert block.rows_of_spans(span_ids) == {row for row in range(len(spans)) if block.span(row).span_id in span_ids}


@given(st.lists(_SPANS, max_size=40))
def test_zones_count_the_entry_spans(spans: list[BlockSpan]) -> None:
    """Per service and outcome a zone tells how many entry spans there are, and how long the longest is."""
    entries = [span for span in spans if span.is_entry]

    zones = read_zones(zones_of(spans))

    keys = {(span.service_id, span.outcome) for span in entries}
    expected = {}
    for key in keys:
        durations = [span.duration_ns for span in entries if (span.service_id, span.outcome) == key]
        expected[key] = Zone(*key, len(durations), max(durations))
    assert {(zone.service_id, zone.outcome): zone for zone in zones} == expected
