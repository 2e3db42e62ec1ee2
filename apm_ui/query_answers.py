"""What the JSON API answers about database statements."""

from __future__ import annotations

from dataclasses import dataclass, fields

from apm_analysis.slow_queries import SlowQuery


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """One statement as one service calls it. `share_of_total` is its part (0 to 1) of all database time asked for."""

    statement_id: str
    text: str
    system: str
    namespace: str
    service: str
    count: int
    failed_count: int
    total_ns: int
    p50_ns: float | None
    p95_ns: float | None
    max_ns: int
    worst_trace_id: str
    share_of_total: float

    @classmethod
    def of(cls, query: SlowQuery) -> QueryAnswer:
        """A ranked statement with its percentiles."""
        return cls(**{item.name: getattr(query, item.name) for item in fields(cls)})
