"""The way from the spans of blocks to a `SpanRow`, and from names to the ids that stand for them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ScalarSelect, Select, Table, func, select

from apm_store.query import SpanRow
from apm_store.sqlite.block import FAILED, NO_PARENT, BlockSpan
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.schema import operation, service, statement


def span_rows(snapshot: Snapshot, spans: Sequence[BlockSpan]) -> list[SpanRow]:
    """The spans as rows, in the same order; names are looked up once for all of them."""
    services = names_of(snapshot, service, {span.service_id for span in spans})
    operations = names_of(snapshot, operation, {span.operation_id for span in spans})
    return [
        SpanRow(
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex() if span.parent_span_id != NO_PARENT else "",
            services[span.service_id],
            operations[span.operation_id],
            span.kind,
            span.start_ns,
            span.duration_ns,
            span.outcome == FAILED,
            span.http_status or None,
        )
        for span in spans
    ]


def listed(items: Iterable[int]) -> Select[Any]:
    """A subquery of these integers; however many there are, they are one parameter of one statement."""
    return select(func.json_each(json.dumps(list(items))).table_valued("value").c.value)


def id_bytes(hex_id: str) -> bytes:
    """The bytes of a hexadecimal id; those of no stored id when it is none."""
    try:
        return bytes.fromhex(hex_id)
    except ValueError:
        return b""


def service_id_of(name: str) -> ScalarSelect[Any]:
    """The id of a service, or NULL."""
    return select(service.c.id).where(service.c.name == name).scalar_subquery()


def operation_id_of(name: str) -> ScalarSelect[Any]:
    """The id of an operation, or NULL."""
    return select(operation.c.id).where(operation.c.name == name).scalar_subquery()


def statement_id_of(statement_id: str) -> ScalarSelect[Any]:
    """The row id of a statement that the questions know by its hash, or NULL."""
    return select(statement.c.id).where(statement.c.hash == statement_id).scalar_subquery()


def names_of(snapshot: Snapshot, table: Table, ids: Iterable[int]) -> dict[int, str]:
    """What a table of names calls these ids."""
    question = select(table.c.id, table.c.name).where(table.c.id.in_(listed(ids)))
    return {row.id: row.name for row in snapshot.rows(question)}
