"""The directory knows the spans of the traces that are under way, and writes each trace as one row."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apm_store.sqlite.block import FAILED, NO_PARENT, OK, BlockSpan
from apm_store.sqlite.connections import connect_writer
from apm_store.sqlite.migrations import SEGMENT
from apm_store.sqlite.trace_directory import SETTLE_S, SpanKey, TraceDirectory, rows_of

SERVER, CLIENT = 2, 3
_Body = list[tuple[int, int, int, int, bool]]  # trace, span, kind, start, whether it failed


def span(
    trace: int, number: int, kind: int = SERVER, start: int = 1, has_failed: bool = False, seq: int = 1
) -> BlockSpan:
    """A span of 10 ns; number 0 is a root of service 7 and operation 8."""
    ids = (bytes([trace]) * 16, bytes([number]) * 8, bytes([1]) * 8 if number else NO_PARENT)
    return BlockSpan(*ids, start, 10, 7, 8, kind, FAILED if has_failed else OK, 0, 0, not number, seq)


def nothing(trace_ids: Sequence[bytes]) -> dict[bytes, set[SpanKey]]:
    """The segment before, which knows no span."""
    return {}


@given(
    bodies=st.lists(
        st.lists(
            st.tuples(
                st.integers(1, 3),
                st.integers(0, 4),
                st.sampled_from([SERVER, CLIENT]),
                st.integers(1, 99),
                st.booleans(),
            ),
            min_size=1,
            max_size=12,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_each_span_counts_once_in_the_row_of_its_trace(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[_Body]
) -> None:
    """Ids that come again, in one body or in another, are left out; one id of two kinds is two spans."""
    expected: dict[bytes, dict[SpanKey, BlockSpan]] = {}
    with closing(connect_writer(tmp_path_factory.mktemp("s") / "index.db", SEGMENT)) as connection:
        directory = TraceDirectory(connection, lambda seqs, trace_id: ())
        for seq, body in enumerate(bodies, 1):
            spans = [span(*one, seq=seq) for one in body]
            first = [one for one in spans if _is_first(expected, one)]

            assert directory.new_spans(spans, 1, 0.0, nothing) == first

        directory.settle_all()
        rows = {row[0]: row for row in rows_of(connection, list(expected))}

    for trace_id, found in expected.items():
        spans, row = list(found.values()), rows[trace_id]
        assert row[1:5] == (
            min(one.start_ns for one in spans),
            max(one.start_ns + 10 for one in spans),
            len(spans),
            sum(one.outcome == FAILED for one in spans),
        )
        assert (row[5] == 7) == any(one.parent_span_id == NO_PARENT for one in spans)


def _is_first(seen: dict[bytes, dict[SpanKey, BlockSpan]], one: BlockSpan) -> bool:
    key = (one.span_id, one.kind)
    return seen.setdefault(one.trace_id, {}).setdefault(key, one) is one


def test_a_trace_that_comes_again_grows_its_row(tmp_path: Path) -> None:
    """What is late joins the row that was written; spans of that row's bodies, or of the segment before, are known."""
    held = {1: [(bytes([2]) * 8, SERVER)]}
    with closing(connect_writer(tmp_path / "index.db", SEGMENT)) as connection:
        directory = TraceDirectory(connection, lambda seqs, trace_id: [key for seq in seqs for key in held[seq]])
        directory.new_spans([span(1, 2)], 1, 0.0, nothing)
        directory.settle(SETTLE_S, 1)
        late = [span(1, number, seq=2) for number in (2, 3, 4)]
        before = {late[0].trace_id: {(bytes([3]) * 8, SERVER)}}

        new = directory.new_spans(late, 1, SETTLE_S, lambda trace_ids: before)

        directory.settle_all()
        [row] = rows_of(connection, [late[0].trace_id])

    assert new == late[2:]
    assert (row[3], row[7]) == (2, b"[[1,1,0],[2,1,0]]")


def test_spans_of_blocks_are_taken_in_once(tmp_path: Path) -> None:
    """Bodies that a row contains already add nothing to it."""
    with closing(connect_writer(tmp_path / "index.db", SEGMENT)) as connection:
        directory = TraceDirectory(connection, lambda seqs, trace_id: ())
        spans = [span(1, 2), span(1, 3, has_failed=True)]
        directory.new_spans(spans, 1, 0.0, nothing)
        directory.settle_all()

        directory.take_in([*spans, span(1, 4, seq=2), span(2, 5, seq=2)])

        rows = {row[0][0]: row[7] for row in rows_of(connection, [bytes([1]) * 16, bytes([2]) * 16])}

    assert rows == {1: b"[[1,2,1],[2,1,0]]", 2: b"[[2,1,0]]"}
