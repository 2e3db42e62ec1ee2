"""Finds spans by their attributes: no index holds those, so the stored bodies are looked through, newest first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Row, select

from apm_store.api import StoreTimeoutError
from apm_store.model import Signal
from apm_store.otlp_decode import attributes_match, decode_attributes, decode_resource, parse_request
from apm_store.query import TraceQuery
from apm_store.sqlite.bodies import clamp, item_id, unpack
from apm_store.sqlite.matches import Matches
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.schema import body, span, statement
from apm_store.sqlite.span_rows import listed, row_conditions, starts_within

_NUMBER_OR_BOOLEAN = re.compile(r"true|false|inf|-inf|nan|-?\d.*")  # such a value may lie in a body in binary form


def find_with_attributes(snapshot: Snapshot, query: TraceQuery, share: float) -> Matches:
    """All spans that meet a query with attributes; only those of the newest bodies when the time is over first."""
    found: list[Row[Any]] = []
    matches = Matches()
    try:
        with snapshot.within(share):
            statement_id = _statement_row_id(snapshot, query)
            for body_id, content in _bodies(snapshot, query):
                positions = set(_matching_positions(content, query))
                if positions:
                    found += _rows(snapshot, query, body_id, positions, statement_id)
    except StoreTimeoutError:
        matches.is_complete = False
    found.sort(key=lambda row: (-row.start_ns, row.duration_ns))
    matches.add([row.trace_id.hex() for row in found], (row.id for row in found), (row.duration_ns for row in found))
    return matches


def _statement_row_id(snapshot: Snapshot, query: TraceQuery) -> int | None:
    if query.statement_id is None:
        return None
    rows = snapshot.rows(select(statement.c.id).where(statement.c.hash == query.statement_id))
    return rows[0].id if rows else -1


def _bodies(snapshot: Snapshot, query: TraceQuery) -> Iterator[tuple[int, bytes]]:
    """The bodies with spans in the range that contain every text that the query asks for."""
    names = [text.encode() for text in (query.service, query.operation) if text and text != "unknown_service"]
    texts = names + _texts_of(query.attributes)
    question = (
        select(body.c.id, body.c.codec, body.c.data)
        .where(body.c.signal == Signal.TRACES.value, body.c.last_ns >= clamp(query.time_range.start_ns))
        .where(body.c.first_ns < clamp(query.time_range.end_ns))
        .order_by(body.c.last_ns.desc())
    )
    for row in snapshot.stream(question):
        content = unpack(row.codec, row.data)
        if all(text in content for text in texts):
            yield row.id, content
        snapshot.check()


def _texts_of(pairs: Iterable[tuple[str, str]]) -> list[bytes]:
    """The bytes that protobuf must contain for these attributes to be in it."""
    texts = []
    for key, value in pairs:
        texts.append(key.encode())
        if not _NUMBER_OR_BOOLEAN.fullmatch(value):
            texts.append(value.encode())
    return texts


def _matching_positions(content: bytes, query: TraceQuery) -> Iterator[int]:
    """The positions of the spans that have the service, the operation and all the attributes."""
    start = 0
    for group in parse_request(Signal.TRACES, content).resource_spans:
        resource = decode_resource(group)
        rest = [pair for pair in query.attributes if not attributes_match(resource.attributes, *pair)]
        is_service = query.service is None or resource.service_name == query.service
        texts = _texts_of(rest)
        for block in group.scope_spans:
            for position, item in enumerate(block.spans if is_service else (), start):
                if query.operation in (None, item.name) and _has_attributes(item, rest, texts):
                    yield position
            start += len(block.spans)


def _has_attributes(item: Any, pairs: list[tuple[str, str]], texts: list[bytes]) -> bool:
    """Whether a span has all attributes; its bytes alone rule most spans out, at a fifth of the cost of decoding."""
    content = item.SerializeToString() if texts else b""
    if not all(text in content for text in texts):
        return False
    keys = {key for key, _ in pairs}
    attributes = decode_attributes(pair for pair in item.attributes if pair.key in keys)
    return all(attributes_match(attributes, *pair) for pair in pairs)


def _rows(
    snapshot: Snapshot, query: TraceQuery, body_id: int, positions: set[int], statement_id: int | None
) -> Iterator[Row[Any]]:
    """The stored rows at these positions of a body that meet the rest of the query."""
    items = listed(item_id(body_id, position) for position in positions)
    wanted = (span.c.id.in_(items), starts_within(query.time_range), *row_conditions(query))
    columns = (span.c.id, span.c.trace_id, span.c.start_ns, span.c.duration_ns, span.c.statement_id)
    for row in snapshot.stream(select(*columns).where(*wanted)):
        if statement_id is None or row.statement_id == statement_id:
            yield row
