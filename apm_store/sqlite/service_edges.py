"""Answers who calls whom, from the roll-up of edges alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from apm_store.query import EdgeQuery, ServiceEdge
from apm_store.sketch import Sketch
from apm_store.sqlite.aggregates import in_range
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.schema import edge_rollup, node


@dataclass(slots=True)
class _Sum:
    """What the rows of one edge add up to."""

    count: int = 0
    failed_count: int = 0
    client: list[bytes] = field(default_factory=list)
    server: list[bytes] = field(default_factory=list)


def edges(snapshot: Snapshot, query: EdgeQuery) -> list[ServiceEdge]:
    """Who calls whom in the range (widened to whole minutes), most calls first."""
    table = edge_rollup.c
    columns = (table.source_id, table.target_id, table.kind, table.count, table.failed_count)
    wanted = in_range(edge_rollup, query.time_range, None)
    question = select(*columns, table.client_sketch, table.server_sketch).where(wanted, table.count > 0)
    sums: dict[tuple[int, int, str], _Sum] = {}
    rows: list[Any] = snapshot.rows(question)
    for source_id, target_id, kind, count, failed_count, client, server in rows:
        total = sums.setdefault((source_id, target_id, kind), _Sum())
        total.count += count
        total.failed_count += failed_count
        total.client.append(client)
        total.server.append(server)
    nodes = {row.id: row for row in snapshot.stream(select(node))}
    found = [
        ServiceEdge(
            source=nodes[source_id].name,
            target=nodes[target_id].name,
            kind=kind,
            is_virtual_source=bool(nodes[source_id].is_virtual),
            is_virtual_target=bool(nodes[target_id].is_virtual),
            count=total.count,
            failed_count=total.failed_count,
            client_durations=Sketch.from_many(total.client),
            server_durations=Sketch.from_many(total.server),
        )
        for (source_id, target_id, kind), total in sums.items()
    ]
    return sorted(found, key=lambda edge: (-edge.count, edge.source, edge.target, edge.kind))
