"""Has the pairing of calls know, after a restart, what it knew before: from the requests that were received last.

What a pairing knows follows from the spans that were fed to it and their times of receipt, so feeding them again gives
it back; what they count is dropped, because the catalogue contains it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from apm_store.model import Signal
from apm_store.otlp_decode import parse_request
from apm_store.sqlite.block import Block
from apm_store.sqlite.bodies import BODY_ERRORS
from apm_store.sqlite.catalogue import Catalogue
from apm_store.sqlite.segment_index import SegmentIndex
from apm_store.sqlite.write_traces import read_spans

WINDOW_S = 60.0
"""What was received so long before is read again: halves wait for 10 s, and are corrected when late ones come."""

MAX_SPANS = 200_000
"""So many spans are read again at most, at about 10 µs each; they are 10 s of 20,000 spans/s."""

_AT_ONCE = 1_000  # spans
_Keys = set[tuple[bytes, bytes, int]]


class _Body(NamedTuple):
    """A trace request that the catalogue contains."""

    segment: SegmentIndex
    seq: int
    offset: int
    length: int
    received_ns: int
    item_count: int


def recall_calls(catalogue: Catalogue, segments: Sequence[SegmentIndex]) -> Iterator[None]:
    """Feed the last calls that a catalogue contains to its pairing again, and count none of them.

    `segments` are the last ones, oldest first; their indexes contain all that the catalogue does. Gives the caller a
    word every thousand spans.
    """
    if catalogue.settled_ns is None:
        return
    bodies = _last_bodies(catalogue, segments, catalogue.settled_ns - int(WINDOW_S * 1e9))
    new = {id(segment): _new_spans(segment, [one for one in bodies if one.segment is segment]) for segment in segments}
    fed = 0
    for body in reversed(bodies):
        _feed(catalogue, body, new[id(body.segment)].get(body.seq))
        fed += body.item_count
        if fed >= _AT_ONCE:
            catalogue.edges.take()
            yield
            fed = 0
    catalogue.edges.expire(catalogue.settled_ns)
    catalogue.edges.take()


def _last_bodies(catalogue: Catalogue, segments: Sequence[SegmentIndex], since_ns: int) -> list[_Body]:
    """The trace requests that were received since a time, newest first."""
    found: list[_Body] = []
    room = MAX_SPANS
    for segment in reversed(segments):
        segment_id = segment.files.segment_id
        last = catalogue.seq if segment_id == catalogue.segment_id else segment.seq
        if segment_id > catalogue.segment_id:
            continue
        rows = segment.connection.execute(
            "SELECT seq, offset, length, received_ns, item_count FROM body WHERE signal = ? AND seq <= ? "
            "ORDER BY seq DESC",
            (Signal.TRACES.value, last),
        )
        for row in rows:
            body = _Body(segment, *row)
            room -= body.item_count
            if body.received_ns < since_ns or room < 0:
                return found
            found.append(body)
    return found


def _new_spans(segment: SegmentIndex, bodies: Sequence[_Body]) -> Mapping[int, _Keys]:
    """The spans that were not stored before, of those of a segment's bodies that brought some again."""
    if not bodies:
        return {}
    rows = "SELECT data FROM block WHERE last_seq >= ?"
    since = (min(body.seq for body in bodies),)
    counts: Counter[int] = Counter()
    for (data,) in segment.connection.execute(rows, since):
        block = Block(data)
        counts.update({block.seqs[at]: count for at, count in Counter(block.body.tolist()).items()})
    found: dict[int, _Keys] = {body.seq: set() for body in bodies if counts[body.seq] < body.item_count}
    for (data,) in segment.connection.execute(rows, since) if found else ():
        block = Block(data)
        for row, at in enumerate(block.body.tolist()):
            if block.seqs[at] in found:
                found[block.seqs[at]].add(block.key(row))
    return found


def _feed(catalogue: Catalogue, body: _Body, new: _Keys | None) -> None:
    """Feed the calls of a request, of which all spans were new, or those in `new`."""
    if new is not None and not new:
        return
    try:
        content = body.segment.log.body(body.offset, body.length)
        request = parse_request(Signal.TRACES, content)
        found = read_spans(catalogue.names, request, content, body.seq, body.received_ns)
    except BODY_ERRORS:  # it was told of when it was indexed
        return
    ends = ((found.spans[index], peer) for index, peer in found.ends)
    catalogue.count_edges(
        (end for end in ends if new is None or (end[0].trace_id, end[0].span_id, end[0].kind) in new), found.services
    )
    catalogue.edges.expire(body.received_ns)
