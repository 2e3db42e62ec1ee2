"""Answers questions about metrics and their data points.

One metric over time is summed up from the narrow rows of its points alone.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
from sqlalchemy import select

from apm_store.model import Attributes, DataPoint, Metric, Signal
from apm_store.otlp_decode import decode_attributes, decode_metric, decode_point, iter_metrics, metric_data
from apm_store.query import (
    MetricPage,
    MetricQuery,
    MetricSeries,
    MetricSeriesPage,
    MetricSeriesQuery,
    MetricStep,
    TimeRange,
)
from apm_store.sqlite.bodies import clamp, item_id
from apm_store.sqlite.dictionaries import is_overflow_stream
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.schema import metric_stream
from apm_store.sqlite.segment_reader import SegmentSnapshot
from apm_store.sqlite.span_rows import service_id_of
from apm_store.sqlite.write_metrics import metric_identity, resource_digest

_NEWEST = (
    "SELECT time_ns, id FROM data_point WHERE stream_id IN (SELECT value FROM json_each(?)) "
    "AND time_ns >= ? AND time_ns < ? ORDER BY time_ns DESC LIMIT ?"
)
_MAX_EMPTY_STEPS = 100_000  # as many are looked at in vain within 100 ms
_OVERFLOW_ATTRIBUTES: Attributes = {"otel.metric.overflow": True}

# ?1 and ?2 bound the time, ?3 lists streams, ?4 is the step; the alternative is to sort all points into their steps
_IN_RANGE = "time_ns >= ?1 AND time_ns < ?2"
_HAS_VALUE = "(value IS NOT NULL OR value_count IS NOT NULL)"
_EXTENTS = f"""
SELECT wanted.value,
       (SELECT min(time_ns) FROM data_point WHERE stream_id = wanted.value AND {_IN_RANGE}),
       (SELECT max(time_ns) FROM data_point WHERE stream_id = wanted.value AND {_IN_RANGE}),
       (SELECT id FROM data_point WHERE stream_id = wanted.value AND {_IN_RANGE} ORDER BY time_ns DESC LIMIT 1)
FROM json_each(?3) AS wanted
"""  # noqa: S608 – conditions from this file
_COUNTS = f"""
SELECT stream_id, count(*) FROM data_point WHERE stream_id IN (SELECT value FROM json_each(?3)) AND {_IN_RANGE}
GROUP BY stream_id
"""  # noqa: S608 – conditions from this file
_EVERY_STEP = """
WITH RECURSIVE step (stream_id, at, last_ns) AS (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') / ?4 * ?4, json_extract(value, '$[2]')
    FROM json_each(?3)
    UNION ALL SELECT stream_id, at + ?4, last_ns FROM step WHERE at + ?4 <= last_ns
)
"""
_STEPS_WITH_POINTS = f"""
WITH step AS (
    SELECT DISTINCT stream_id, time_ns / ?4 * ?4 AS at FROM data_point
    WHERE stream_id IN (SELECT json_extract(value, '$[0]') FROM json_each(?3)) AND {_IN_RANGE}
)
"""  # noqa: S608 – conditions from this file
_IN_STEP = f"stream_id = step.stream_id AND time_ns >= max(at, ?1) AND time_ns < min(at + ?4, ?2) AND {_HAS_VALUE}"
_MEASURES = f"""
SELECT stream_id, at,
       (SELECT json_array(count(*), min(value), max(value), sum(value), sum(value_count), max(time_ns))
        FROM data_point WHERE {_IN_STEP}),
       (SELECT value FROM data_point WHERE {_IN_STEP} ORDER BY time_ns DESC, start_ns DESC, content DESC LIMIT 1)
FROM step
"""  # noqa: S608 – conditions from this file


@dataclass(slots=True)
class _Extent:
    """Between which times the points of a stream lie in a segment, and the id of the last."""

    first_ns: int
    last_ns: int
    last_item: int


_Extents = dict[int, _Extent]
_Step = tuple[int, MetricStep]
"""The time of a step's last point, and the step."""


def find(snapshot: Snapshot, query: MetricQuery) -> MetricPage:
    """The metrics of one name, each with its data points in the range, oldest first.

    When there are more than `limit` points, the newest are kept.
    """
    limit = max(0, query.limit)
    streams = _listed(_streams_of(snapshot, query.name, query.service))
    start_ns, end_ns = clamp(query.time_range.start_ns), clamp(query.time_range.end_ns)
    segments = _segments_of(snapshot, query.time_range)
    newest: list[tuple[int, int, int]] = []
    for segment in segments:
        since_ns = newest[-1][0] if len(newest) > limit else start_ns
        rows = segment.execute(_NEWEST, (streams, since_ns, end_ns, limit + 1))
        places = ((time_ns, segment.segment_id, item) for time_ns, item in rows)
        newest = sorted((*newest, *places), reverse=True)[: limit + 1]
    metrics: dict[bytes, tuple[Metric, list[DataPoint]]] = {}
    for segment in segments:
        items = {item for _, segment_id, item in newest[:limit] if segment_id == segment.segment_id}
        for _, metric, resource, scope, point in _raw_points(segment, items):
            identity = metric_identity(metric, resource_digest(resource), scope)
            if identity not in metrics:
                metrics[identity] = (decode_metric(metric, resource, scope, ()), [])
            metrics[identity][1].append(decode_point(point))
    found = (replace(metric, points=_in_order(points)) for metric, points in metrics.values())
    by_name = sorted(found, key=lambda metric: (metric.service, metric.scope.name, metric.type.value))
    return MetricPage(tuple(by_name), is_complete=len(newest) <= limit)


def names(snapshot: Snapshot, service_name: str | None) -> list[str]:
    """Names of all metrics (of a service), sorted."""
    question = select(metric_stream.c.name).distinct()
    if service_name is not None:
        question = question.where(metric_stream.c.service_id == service_id_of(service_name))
    return sorted(row.name for row in snapshot.stream(question))


def series(snapshot: Snapshot, query: MetricSeriesQuery) -> MetricSeriesPage:
    """One metric over time by stream and step, the streams with most points first.

    Points without a number (NaN, or marked as not recorded) are a gap. The values are as they were sent, to 15
    digits: of a cumulative sum `last` counts, and to see its resets is the asker's business.
    Raises ValueError when `step_ns` is not positive.
    """
    if query.step_ns <= 0:
        raise ValueError(f"step_ns is {query.step_ns}; it must be positive.")
    streams = _streams_of(snapshot, query.name, query.service)
    segments = _segments_of(snapshot, query.time_range)
    bounds = (clamp(query.time_range.start_ns), clamp(query.time_range.end_ns))
    extents = [_extents(segment, bounds, streams) for segment in segments]
    total = set().union(*extents)
    chosen = _chosen(segments, bounds, total, query.max_streams)
    steps: dict[int, dict[int, _Step]] = {}
    for segment, extent in zip(segments, extents, strict=True):
        wanted = {stream: extent[stream] for stream in chosen if stream in extent}
        for stream, step in _steps(segment, bounds, wanted, query.step_ns):
            known = steps.setdefault(stream, {})
            at = step[1].start_ns
            known[at] = _merged(known[at], step) if at in known else step
    described = _described(segments, extents, steps)
    found = [
        MetricSeries(
            metric=described[stream][0],
            attributes=_OVERFLOW_ATTRIBUTES if streams[stream] else described[stream][1],
            steps=tuple([by_start[at][1] for at in sorted(by_start)]),
        )
        for stream, by_start in sorted(steps.items())
    ]
    found.sort(key=lambda one: -sum(step.point_count for step in one.steps))
    return MetricSeriesPage(tuple(found), total_streams=len(total))


def _extents(segment: SegmentSnapshot, bounds: tuple[int, int], streams: Collection[int]) -> _Extents:
    """The streams that have points in the range."""
    rows = segment.execute(_EXTENTS, (*bounds, _listed(streams)))
    return {stream: _Extent(*extent) for stream, *extent in rows if extent[0] is not None}


def _chosen(
    segments: Collection[SegmentSnapshot], bounds: tuple[int, int], streams: Collection[int], limit: int
) -> list[int]:
    """The streams with most points, at most `limit`."""
    if len(streams) <= limit:
        return sorted(streams)
    counts: Counter[int] = Counter()
    for segment in segments:
        counts.update(dict(segment.execute(_COUNTS, (*bounds, _listed(streams)))))
    return sorted(streams, key=lambda stream: (-counts[stream], stream))[: max(0, limit)]


def _steps(
    segment: SegmentSnapshot, bounds: tuple[int, int], wanted: _Extents, step_ns: int
) -> list[tuple[int, _Step]]:
    """The steps of these streams in one segment, each behind its stream."""
    step_count = sum((extent.last_ns - extent.first_ns) // step_ns for extent in wanted.values())
    source = _EVERY_STEP if step_count <= _MAX_EMPTY_STEPS else _STEPS_WITH_POINTS
    streams = _listed((stream, extent.first_ns, extent.last_ns) for stream, extent in wanted.items())
    rows = segment.execute(source + _MEASURES, (*bounds, streams, step_ns))
    return [
        (stream, _metric_step(at, packed, last)) for stream, at, packed, last in rows if not packed.startswith("[0,")
    ]


def _metric_step(at: int, packed: str, last: float | None) -> _Step:
    """A step from its measures, with the time of its last point; NaN stands for what the points do not tell."""
    try:
        count, low, high, total, value_count, last_ns = orjson.loads(packed)
    except orjson.JSONDecodeError:
        infinite = packed.replace("Inf", "Infinity")  # SQLite writes what JSON does not know
        count, low, high, total, value_count, last_ns = json.loads(infinite)
    if last is None or low is None:
        low, high, total, last = (math.nan if number is None else number for number in (low, high, total, last))
    return last_ns, MetricStep(at, count, low, high, total, last, value_count or 0)


def _merged(one: _Step, other: _Step) -> _Step:
    """One step whose points lie in two segments."""
    (_, earlier), (last_ns, later) = sorted((one, other), key=lambda step: step[0])
    return last_ns, MetricStep(
        start_ns=later.start_ns,
        point_count=earlier.point_count + later.point_count,
        min=min(earlier.min, later.min),
        max=max(earlier.max, later.max),
        sum=earlier.sum + later.sum,
        last=later.last,
        value_count=earlier.value_count + later.value_count,
    )


def _described(
    segments: Collection[SegmentSnapshot], extents: Collection[_Extents], streams: Collection[int]
) -> Mapping[int, tuple[Metric, Attributes]]:
    """The metric and the attributes of each stream, from its last point."""
    described: dict[int, tuple[Metric, Attributes]] = {}
    for segment, extent in zip(segments, extents, strict=True):
        items = {extent[stream].last_item: stream for stream in streams if stream in extent and stream not in described}
        for item, metric, resource, scope, point in _raw_points(segment, items):
            described[items[item]] = (decode_metric(metric, resource, scope, ()), decode_attributes(point.attributes))
    return described


def _streams_of(snapshot: Snapshot, name: str, service_name: str | None) -> dict[int, bool]:
    """The streams of a metric (of a service), each with whether it holds what exceeded the limit."""
    question = select(metric_stream.c.id, metric_stream.c.digest).where(metric_stream.c.name == name)
    if service_name is not None:
        question = question.where(metric_stream.c.service_id == service_id_of(service_name))
    return {row.id: is_overflow_stream(row.digest) for row in snapshot.rows(question)}


def _segments_of(snapshot: Snapshot, time_range: TimeRange) -> list[SegmentSnapshot]:
    """The segments that may hold data points in the range, newest first."""
    return snapshot.segments(clamp(time_range.start_ns), clamp(time_range.end_ns), Signal.METRICS)


def _listed(ids: Iterable[int | tuple[int, ...]]) -> str:
    """Integers (or tuples of them) as one parameter of a statement, however many there are."""
    return orjson.dumps(list(ids)).decode()


def _raw_points(segment: SegmentSnapshot, items: Collection[int]) -> Iterator[tuple[int, Any, Any, Any, Any]]:
    """The data points with these ids as OTLP: (id, metric, resource block, scope block, data point)."""
    for seq, request, positions in segment.requests(Signal.METRICS, items):
        for metric, resource, scope, first in iter_metrics(request):
            points = metric_data(metric).data_points
            for position in positions:
                if first <= position < first + len(points):
                    yield item_id(seq, position), metric, resource, scope, points[position - first]


def _in_order(points: list[DataPoint]) -> tuple[DataPoint, ...]:
    return tuple(sorted(points, key=lambda point: (point.time_ns, point.start_ns)))
