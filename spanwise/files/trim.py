"""Takes out of stored requests what was not asked for: items outside of a time range, or of other traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apm_store.model import Signal
from apm_store.query import TimeRange

_Keep = Callable[[Any], bool]


def trim(signal: Signal, request: Any, time_range: TimeRange, trace_id: bytes | None = None) -> int:
    """Leave in an export request the items of the range (spans by their start) and trace; gives how many are left.

    Resources and scopes without items are taken out too.
    """
    keep = _condition(signal, time_range, trace_id)
    if signal is Signal.TRACES:
        return _trim(request.resource_spans, "scope_spans", lambda scope: _filter(scope.spans, keep))
    if signal is Signal.LOGS:
        return _trim(request.resource_logs, "scope_logs", lambda scope: _filter(scope.log_records, keep))
    return _trim(request.resource_metrics, "scope_metrics", lambda scope: _trim_metrics(scope.metrics, keep))


def _condition(signal: Signal, time_range: TimeRange, trace_id: bytes | None) -> _Keep:
    start_ns, end_ns = time_range.start_ns, time_range.end_ns

    def time_of(item: Any) -> int:
        if signal is Signal.TRACES:
            return int(item.start_time_unix_nano)
        if signal is Signal.LOGS:
            return int(item.time_unix_nano or item.observed_time_unix_nano)
        return int(item.time_unix_nano)

    def keep(item: Any) -> bool:
        return start_ns <= time_of(item) < end_ns and (trace_id is None or item.trace_id == trace_id)

    return keep


def _trim(blocks: Any, scopes_name: str, trim_scope: Callable[[Any], int]) -> int:
    """Trim all scopes of a repeated field of resource blocks."""
    left = 0
    for block in blocks:
        scopes = getattr(block, scopes_name)
        counts = [trim_scope(scope) for scope in scopes]
        _keep_where(scopes, counts)
        left += sum(counts)
    _keep_where(blocks, [len(getattr(block, scopes_name)) for block in blocks])
    return left


def _trim_metrics(metrics: Any, keep: _Keep) -> int:
    counts = []
    for metric in metrics:
        data_type = metric.WhichOneof("data")
        counts.append(_filter(getattr(metric, data_type).data_points, keep) if data_type else 0)
    _keep_where(metrics, counts)
    return sum(counts)


def _filter(items: Any, keep: _Keep) -> int:
    _keep_where(items, [keep(item) for item in items])
    return len(items)


def _keep_where(items: Any, flags: list[Any]) -> None:
    """Leave in a repeated field the items whose flag is true."""
    if not all(flags):
        kept = [item for item, flag in zip(items, flags, strict=True) if flag]
        del items[:]
        items.extend(kept)
