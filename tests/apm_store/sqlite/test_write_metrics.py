"""Data points become narrow rows, and equal streams are known as equal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from builders import SECOND, attribute
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from apm_store.sqlite.bodies import item_id
from apm_store.sqlite.connections import connect_writer
from apm_store.sqlite.dictionaries import Dictionaries
from apm_store.sqlite.migrations import CATALOGUE, SEGMENT
from apm_store.sqlite.write_metrics import INSERT_DATA_POINT, data_point_rows

RECEIVED_NS = 999 * SECOND


@pytest.fixture
def names(tmp_path: Path) -> Iterator[Dictionaries]:
    """The names of an empty catalogue with an open transaction."""
    with closing(connect_writer(tmp_path / "spanwise.db", CATALOGUE)) as connection:
        connection.execute("BEGIN")
        yield Dictionaries(connection)


def request_of(service: str = "shop", **metric: Any) -> ExportMetricsServiceRequest:
    """A request with one metric of one service."""
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.append(attribute("service.name", service))
    group.scope_metrics.add().metrics.add(**{"name": "memory", **metric})
    return request


def gauge(*points: NumberDataPoint) -> dict[str, Any]:
    """The data of a gauge."""
    return {"gauge": {"data_points": points}}


def point(*hosts: str, **fields: Any) -> NumberDataPoint:
    """A point of a gauge with attributes `h0`, `h1`, … in the given order."""
    attributes = [attribute(host.partition("=")[0], host) for host in hosts]
    return NumberDataPoint(**{"time_unix_nano": SECOND, "as_double": 1.0, **fields}, attributes=attributes)


def test_a_row_says_where_its_point_lies_and_what_it_measures(names: Dictionaries) -> None:
    """Stream, time, start, content, id and value; the id counts through all metrics of the request."""
    request = request_of(**gauge(point(), point(time_unix_nano=2 * SECOND, start_time_unix_nano=1, as_int=7)))
    request.resource_metrics.add().scope_metrics.add().metrics.add(**{"name": "cpu", **gauge(point())})

    rows = data_point_rows(names, request, 5, RECEIVED_NS)

    assert [row[:3] for row in rows] == [(1, SECOND, 0), (1, 2 * SECOND, 1), (2, SECOND, 0)]
    assert [row[4:] for row in rows] == [
        (item_id(5, 0), 1.0, None),
        (item_id(5, 1), 7, None),
        (item_id(5, 2), 1.0, None),
    ]


def test_a_point_without_a_time_has_the_time_of_receipt_and_none_is_too_late(names: Dictionaries) -> None:
    """Times beyond SQLite's integers become the greatest of them."""
    rows = data_point_rows(
        names, request_of(**gauge(point(time_unix_nano=0), point(time_unix_nano=2**64 - 1))), 1, RECEIVED_NS
    )

    assert [row[1] for row in rows] == [RECEIVED_NS, 2**63 - 1]


def test_attributes_in_another_order_are_the_same_stream(names: Dictionaries) -> None:
    """Order does not matter, content does."""
    points = (point("a=1", "b=1"), point("b=1", "a=1"), point("a=1"), point("a=1", "b=2"), point())

    rows = data_point_rows(names, request_of(**gauge(*points)), 1, RECEIVED_NS)

    assert [row[0] for row in rows] == [1, 1, 2, 3, 4]


def test_what_makes_a_metric_another_one_makes_its_streams_others(names: Dictionaries) -> None:
    """Resource, name, unit, type, temporality and monotonicity; not the description."""
    data = {"data_points": [point()], "aggregation_temporality": 2}
    requests = [
        request_of(sum=data),
        request_of(sum=data, description="bytes in use"),
        request_of(sum=data, service="pay"),
        request_of(sum=data, name="cpu"),
        request_of(sum=data, unit="By"),
        request_of(sum={**data, "is_monotonic": True}),
        request_of(sum={**data, "aggregation_temporality": 1}),
        request_of(**gauge(point())),
    ]

    streams = [data_point_rows(names, request, 1, RECEIVED_NS)[0][0] for request in requests]

    assert streams == [1, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (gauge(point(as_int=-3)), (-3, None)),
        (gauge(NumberDataPoint(time_unix_nano=1)), (None, None)),
        (gauge(point(flags=1)), (None, None)),
        ({"histogram": {"data_points": [{"count": 3, "sum": 1.5}]}}, (1.5, 3)),
        ({"histogram": {"data_points": [{"count": 3}]}}, (None, 3)),
        ({"histogram": {"data_points": [{"count": 3, "sum": 1.5, "flags": 1}]}}, (None, None)),
        ({"exponential_histogram": {"data_points": [{"count": 3, "sum": 0.0}]}}, (0.0, 3)),
        ({"summary": {"data_points": [{"count": 2**64 - 1, "sum": 2.5}]}}, (2.5, 2**63 - 1)),
    ],
)
def test_each_kind_of_point_has_its_value(
    names: Dictionaries, data: dict[str, Any], expected: tuple[float | None, int | None]
) -> None:
    """Numbers have a value; distributions have their sum, if they tell it, and their count."""
    [row] = data_point_rows(names, request_of(**data), 1, RECEIVED_NS)

    assert row[5:] == expected


def test_a_copy_of_a_point_is_left_out_and_any_other_is_not(names: Dictionaries, tmp_path: Path) -> None:
    """Stream, time, start and content tell; what is NaN is stored without a value."""
    points = (point(), point(), point(as_double=2.0), point(as_double=float("nan")), point(start_time_unix_nano=1))
    rows = data_point_rows(names, request_of(**gauge(*points)), 1, RECEIVED_NS)
    with closing(connect_writer(tmp_path / "index.db", SEGMENT)) as connection:
        connection.executemany(INSERT_DATA_POINT, rows)
        connection.executemany(INSERT_DATA_POINT, rows)
        stored = connection.execute("SELECT value FROM data_point ORDER BY id").fetchall()

    assert stored == [(1.0,), (2.0,), (None,), (1.0,)]
