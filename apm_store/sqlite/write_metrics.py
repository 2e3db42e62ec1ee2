"""Makes the narrow rows of a metrics request, and tells metric streams apart."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

from apm_store.otlp_decode import decode_resource, iter_metrics, metric_data, point_value
from apm_store.sqlite.bodies import clamp, item_id
from apm_store.sqlite.dictionaries import FAMILY_BYTES, Dictionaries

INSERT_DATA_POINT = "INSERT OR IGNORE INTO data_point VALUES (?, ?, ?, ?, ?, ?, ?)"
"""Takes the rows of `data_point_rows`; leaves those out that are stored already."""

PointRow = tuple[int, int, int, int, int, float | None, int | None]
"""stream_id, time_ns, start_ns, content, id, value, value_count."""

_NO_RECORDED_VALUE = 1  # DataPointFlags
_Measure = Callable[[Any], tuple[float | None, int | None]]


def data_point_rows(names: Dictionaries, request: Any, seq: int, received_ns: int) -> list[PointRow]:
    """The rows of all data points in their order, each with its time in column 1.

    A point of the same stream, time, start and content as another is a copy of it. The service's names are looked up
    in the open transaction of `names`.
    """
    rows: list[PointRow] = []
    known: Any = None
    source, service_id = b"", 0
    for metric, resource, scope, first in iter_metrics(request):
        if resource is not known:
            known, source = resource, resource_digest(resource)
            service_id = names.service_id(decode_resource(resource).service_name)
        identity = metric_identity(metric, source, scope)
        family = identity[:FAMILY_BYTES]
        measure = _MEASURES[metric.WhichOneof("data")]
        for item, point in enumerate(metric_data(metric).data_points, item_id(seq, first)):
            stream_id = names.stream_id(family + attributes_digest(point.attributes, identity), service_id, metric.name)
            time_ns = clamp(point.time_unix_nano) or received_ns
            value, count = (None, None) if point.flags & _NO_RECORDED_VALUE else measure(point)
            rows.append((stream_id, time_ns, clamp(point.start_time_unix_nano), _content(point), item, value, count))
    return rows


def metric_identity(metric: Any, resource: bytes, scope: Any) -> bytes:
    """What makes a metric another one: resource, scope, name, unit, type, temporality and monotonicity.

    `resource` is the digest of its resource, `scope` the OTLP block that it stands in. The first bytes are those of
    the family: resource and name.
    """
    data = metric_data(metric)
    name = metric.name.encode()
    return _digest(resource, name)[:FAMILY_BYTES] + _digest(
        resource,
        scope.scope.name.encode(),
        scope.scope.version.encode(),
        name,
        metric.unit.encode(),
        metric.WhichOneof("data").encode(),
        b"%d" % getattr(data, "aggregation_temporality", 0),
        b"%d" % getattr(data, "is_monotonic", False),
    )


def resource_digest(resource: Any) -> bytes:
    """What tells the resource of a `ResourceMetrics` from others."""
    return attributes_digest(resource.resource.attributes)


def attributes_digest(attributes: Iterable[Any], key: bytes = b"") -> bytes:
    """16 bytes that are the same for the same attributes in any order (and the same key).

    No message here has maps, so equal ones are serialised alike.
    """
    return _digest(key, *sorted([pair.SerializeToString() for pair in attributes]))


def _content(point: Any) -> int:
    """63 bits over everything that a point says, its attributes and exemplars included."""
    return int.from_bytes(blake2b(point.SerializeToString(), digest_size=8).digest(), "big") >> 1


def _digest(*parts: bytes) -> bytes:
    """16 bytes over the parts and the borders between them."""
    borders = array("Q", (len(parts), *map(len, parts))).tobytes()
    return blake2b(b"".join((borders, *parts)), digest_size=16).digest()


def _number(point: Any) -> tuple[float | None, int | None]:
    return point_value(point), None


def _histogram(point: Any) -> tuple[float | None, int | None]:
    return point.sum if point.HasField("sum") else None, clamp(point.count)


def _summary(point: Any) -> tuple[float | None, int | None]:
    return point.sum, clamp(point.count)


_MEASURES: dict[str, _Measure] = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "exponential_histogram": _histogram,
    "summary": _summary,
}
