"""What the JSON API answers of the service map."""

from __future__ import annotations

from dataclasses import dataclass

from apm_store.query import ServiceEdge
from apm_store.sketch import Sketch


@dataclass(frozen=True, slots=True)
class DurationsAnswer:
    """Percentiles of the calls that one side saw; None when it saw none."""

    count: int
    p50_ns: float | None
    p95_ns: float | None
    p99_ns: float | None

    @classmethod
    def of(cls, durations: Sketch) -> DurationsAnswer:
        """The percentiles of a sketch."""
        return cls(durations.count, *(durations.quantile(q) for q in (0.5, 0.95, 0.99)))


@dataclass(frozen=True, slots=True)
class EdgeAnswer:
    """Calls from one node of the service map to another; see `ServiceEdge` for kinds and virtual nodes."""

    source: str
    target: str
    kind: str
    is_virtual_source: bool
    is_virtual_target: bool
    count: int
    failed_count: int
    client_durations: DurationsAnswer
    server_durations: DurationsAnswer

    @classmethod
    def of(cls, edge: ServiceEdge) -> EdgeAnswer:
        """An edge of the store."""
        return cls(
            source=edge.source,
            target=edge.target,
            kind=edge.kind,
            is_virtual_source=edge.is_virtual_source,
            is_virtual_target=edge.is_virtual_target,
            count=edge.count,
            failed_count=edge.failed_count,
            client_durations=DurationsAnswer.of(edge.client_durations),
            server_durations=DurationsAnswer.of(edge.server_durations),
        )
