"""Answers questions about metrics and their data points."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import select

from apm_store.model import DataPoint, Metric, Signal
from apm_store.otlp_decode import decode_metric, decode_point, iter_metrics, metric_data
from apm_store.query import MetricPage, MetricQuery
from apm_store.sqlite.bodies import clamp
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.schema import data_point, metric_stream
from apm_store.sqlite.span_rows import service_id_of
from apm_store.sqlite.write_metrics import metric_identity


def find(snapshot: Snapshot, query: MetricQuery) -> MetricPage:
    """The metrics of one name, each with its data points in the range, oldest first.

    When there are more than `limit` points, the newest are kept.
    """
    streams = select(metric_stream.c.id).where(metric_stream.c.name == query.name)
    if query.service is not None:
        streams = streams.where(metric_stream.c.service_id == service_id_of(query.service))
    question = (
        select(data_point.c.id)
        .where(data_point.c.stream_id.in_(streams))
        .where(data_point.c.time_ns >= clamp(query.time_range.start_ns))
        .where(data_point.c.time_ns < clamp(query.time_range.end_ns))
        .order_by(data_point.c.time_ns.desc())
        .limit(max(0, query.limit) + 1)
    )
    items = [row.id for row in snapshot.stream(question)]
    metrics: dict[bytes, tuple[Metric, list[DataPoint]]] = {}
    for _, request, positions in snapshot.requests(Signal.METRICS, items[: max(0, query.limit)]):
        for metric, resource, scope, first in iter_metrics(request):
            points = metric_data(metric).data_points
            wanted = [decode_point(points[at - first]) for at in positions if first <= at < first + len(points)]
            if wanted:
                key = metric_identity(metric, resource, scope)
                known = metrics.setdefault(key, (decode_metric(metric, resource, scope, ()), []))
                known[1].extend(wanted)
    found = (replace(metric, points=_in_order(points)) for metric, points in metrics.values())
    by_name = sorted(found, key=lambda metric: (metric.service, metric.scope.name, metric.type.value))
    return MetricPage(tuple(by_name), is_complete=len(items) <= query.limit)


def names(snapshot: Snapshot, service_name: str | None) -> list[str]:
    """Names of all metrics (of a service), sorted."""
    question = select(metric_stream.c.name).distinct()
    if service_name is not None:
        question = question.where(metric_stream.c.service_id == service_id_of(service_name))
    return sorted(row.name for row in snapshot.stream(question))


def _in_order(points: list[DataPoint]) -> tuple[DataPoint, ...]:
    return tuple(sorted(points, key=lambda point: (point.time_ns, point.start_ns)))
