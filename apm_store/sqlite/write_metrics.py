"""Writes the streams and the narrow rows of a metrics request, in the writer thread's transaction."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from apm_store.otlp_decode import decode_resource, iter_metrics, metric_data
from apm_store.sqlite.bodies import clamp, item_id
from apm_store.sqlite.transaction import Transaction, Written

_INSERT = "INSERT OR IGNORE INTO data_point VALUES (?, ?, ?, ?, ?)"


def write_data_points(transaction: Transaction, request: Any, body_id: int, received_ns: int) -> Written:
    """Store the data points that are new: one of the same stream, time, start and content is a copy."""
    rows: list[tuple[object, ...]] = []
    times: list[int] = []
    for metric, resource, scope, first in iter_metrics(request):
        service_id = transaction.dictionaries.service_id(decode_resource(resource).service_name)
        identity = metric_identity(metric, resource, scope)
        for position, point in enumerate(metric_data(metric).data_points, first):
            digest = _digest(identity, _canonical(point.attributes))
            stream_id = transaction.dictionaries.stream_id(digest, service_id, metric.name)
            time_ns = clamp(point.time_unix_nano) or received_ns
            start_ns = clamp(point.start_time_unix_nano)
            rows.append((item_id(body_id, position), stream_id, time_ns, start_ns, _content(point)))
            times.append(time_ns)
    return Written(transaction.insert_new(_INSERT, rows), min(times), max(times))


def metric_identity(metric: Any, resource: Any, scope: Any) -> bytes:
    """What makes a metric another one: resource, scope, name, unit, type, temporality and monotonicity.

    `resource` and `scope` are the OTLP blocks that the metric stands in.
    """
    data = metric_data(metric)
    return _digest(
        _canonical(resource.resource.attributes),
        scope.scope.name.encode(),
        scope.scope.version.encode(),
        metric.name.encode(),
        metric.unit.encode(),
        metric.WhichOneof("data").encode(),
        b"%d" % getattr(data, "aggregation_temporality", 0),
        b"%d" % getattr(data, "is_monotonic", False),
    )


def _canonical(attributes: Iterable[Any]) -> bytes:
    """The same bytes for the same attributes in any order."""
    return _digest(*sorted(pair.SerializeToString(deterministic=True) for pair in attributes))


def _content(point: Any) -> int:
    """63 bits over everything that a point says, its attributes and exemplars included."""
    return int.from_bytes(_digest(point.SerializeToString(deterministic=True))[:8], "big") >> 1


def _digest(*parts: bytes) -> bytes:
    """16 bytes over the parts and the borders between them."""
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
