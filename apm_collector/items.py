"""The items of an export request (spans, data points, log records): walked over, removed, and made a batch again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from apm_store.model import Batch, Signal

_FIELDS = {
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
}


def scopes(signal: Signal, request: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Each scope of a request: its resource, the scope, and its repeated field of spans, metrics or log records."""
    outer, inner, items = _FIELDS[signal]
    for resource_items in getattr(request, outer):
        for scope_items in getattr(resource_items, inner):
            yield resource_items.resource, scope_items.scope, getattr(scope_items, items)


def data_points(metric: Any) -> Any:
    """The repeated field of a metric's data points; empty when the metric has no data."""
    data_type = metric.WhichOneof("data")
    return getattr(metric, data_type).data_points if data_type else ()


def retain(items: Any, keep: Callable[[Any], bool]) -> int:
    """Leave in a repeated field only what is to be kept; gives how many went."""
    kept = [item for item in items if keep(item)]
    removed = len(items) - len(kept)
    if removed:
        del items[:]
        items.extend(kept)
    return removed


def changed_batch(batch: Batch, *, removed: int = 0) -> Batch:
    """The batch of a request that was changed in place, `removed` items of it taken out; what is empty goes too."""
    if removed:
        outer, inner, items = _FIELDS[batch.signal]
        for resource_items in getattr(batch.request, outer):
            retain(getattr(resource_items, inner), lambda scope_items: bool(getattr(scope_items, items)))
        retain(getattr(batch.request, outer), lambda resource_items: bool(getattr(resource_items, inner)))
    body = batch.request.SerializeToString()
    return Batch(batch.signal, batch.request, body, batch.item_count - removed)


def merged_batch(batches: list[Batch]) -> Batch:
    """One batch with the items of several of the same signal, in their order."""
    if len(batches) == 1:
        return batches[0]
    body = b"".join(batch.body for batch in batches)  # concatenated messages are a merged one, as protobuf defines
    request = type(batches[0].request).FromString(body)
    return Batch(batches[0].signal, request, body, sum(batch.item_count for batch in batches))
