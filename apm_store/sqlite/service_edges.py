"""Answers who calls whom, from the roll-up of edges alone."""

from __future__ import annotations

from sqlalchemy import func, select

from apm_store.query import EdgeQuery, ServiceEdge
from apm_store.sketch import Sketch
from apm_store.sqlite.aggregates import in_range, merged
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.schema import edge_rollup, node


def edges(snapshot: Snapshot, query: EdgeQuery) -> list[ServiceEdge]:
    """Who calls whom in the range (widened to whole minutes), most calls first."""
    table = edge_rollup.c
    edge = (table.source_id, table.target_id, table.kind)
    measures = (func.sum(table["count"]), func.sum(table.failed_count))
    sketches = (merged(table.client_sketch), merged(table.server_sketch))
    wanted = (in_range(edge_rollup, query.time_range, None), table["count"] > 0)
    rows = snapshot.rows(select(*edge, *measures, *sketches).where(*wanted).group_by(*edge))
    nodes = {row.id: row for row in snapshot.stream(select(node))}
    found = [
        ServiceEdge(
            source=nodes[source_id].name,
            target=nodes[target_id].name,
            kind=kind,
            is_virtual_source=bool(nodes[source_id].is_virtual),
            is_virtual_target=bool(nodes[target_id].is_virtual),
            count=count,
            failed_count=failed_count,
            client_durations=Sketch.from_many((client,)),
            server_durations=Sketch.from_many((server,)),
        )
        for source_id, target_id, kind, count, failed_count, client, server in map(tuple, rows)
    ]
    return sorted(found, key=lambda edge: (-edge.count, edge.source, edge.target, edge.kind))
