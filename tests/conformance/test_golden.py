"""Golden data: what is sent in any way is read back from the store, field by field."""

from __future__ import annotations

import base64
import gzip
import itertools
import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from apm_store.model import Signal
from apm_store.query import LogQuery, MetricQuery, TimeRange

PICT = (
    Path(__file__).parents[2] / ".." / "shared/fixtures/otlp/15-otel-goldendataset-pict/generated_pict_pairs_traces.txt"
)
ROWS = [line.split("\t") for line in PICT.read_text().splitlines()[1:]] if PICT.is_file() else []
WAYS = list(itertools.product(["grpc", "protobuf", "json"], ["none", "gzip"]))
ALL_TIME = TimeRange(0, 2**63 - 1)
START_NS = 1_790_000_000_000_000_000
ID_FIELDS = {"traceId", "spanId", "parentSpanId"}

RESOURCES: dict[str, dict[str, Any]] = {
    "Nil": {},
    "Empty": {},
    "VMOnPrem": {"service.name": "customers", "host.name": "tc-prod9.internal", "host.cpus": 8, "host.spot": False},
    "VMCloud": {"service.name": "shoppingcart", "cloud.provider": "aws", "host.load": 0.75, "host.ips": ["10.0.0.1"]},
    "K8sOnPrem": {"k8s.pod.name": "checkout-1", "k8s.labels": {"app": "checkout", "tier": ["web", 2]}},
    "K8sCloud": {"service.name": "checkout", "k8s.cluster.name": "erp-dev", "container.id": b"\x00\xff"},
    "Faas": {"faas.name": "api-login", "faas.version": "8.4.0", "faas.max_memory": 2**62},
    "Exec": {"process.pid": 3471, "process.command_args": ["java", "-Xmx200m"], "process.ärger": "ünïcode 🎉"},
}
SCOPES = {"None": [("", "")], "One": [("io.otel.one", "1.2")], "Two": [("io.otel.one", "1.2"), ("io.otel.two", "")]}


def _any(value: Any) -> AnyValue:
    """A Python value as OTLP writes it."""
    if value is None:
        return AnyValue()
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=map(_any, value)))
    if isinstance(value, dict):
        return AnyValue(kvlist_value=KeyValueList(values=_pairs(value)))
    kinds = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value", bytes: "bytes_value"}
    return AnyValue(**{kinds[type(value)]: value})


def _pairs(attributes: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_any(value)) for key, value in attributes.items()]


def _frozen(value: Any) -> Any:
    """A Python value as the store gives it back: lists are tuples there."""
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return value


def _pairwise(dimensions: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Rows in which every two values of any two dimensions meet, found greedily; the same in every run."""
    names, dice = list(dimensions), random.Random(7)
    indexes = {name: range(len(values)) for name, values in dimensions.items()}
    missing = {(a, i, b, j) for a, b in itertools.combinations(names, 2) for i in indexes[a] for j in indexes[b]}
    rows = []
    while missing:
        candidates = [{name: dice.choice(indexes[name]) for name in names} for _ in range(60)]
        a, i, b, j = min(missing)
        candidates = [{**row, a: i, b: j} for row in candidates]
        best = max(candidates, key=lambda row: len(_met(row, names) & missing))
        missing -= _met(best, names)
        rows.append({name: dimensions[name][best[name]] for name in names})
    return rows


def _met(row: Mapping[str, int], names: list[str]) -> set[tuple[str, int, str, int]]:
    return {(a, row[a], b, row[b]) for a, b in itertools.combinations(names, 2)}


ATTRIBUTES: list[dict[str, Any]] = [
    {},
    {"text": "x", "number": -1, "ratio": 0.1, "yes": True, "no": False},
    {"least": -(2**63), "most": 2**63 - 1, "inf": float("inf"), "bytes": b"\x00\xff", "none": None},
    {"list": ["a", 1, 0.5, None, ["b"]], "map": {"a": {"b": [1]}}, "no text": "", "": "no key"},
    {"ключ": "значение 🎉", 'quote"\\': "nul \x00 in text", "line\r\n": "\x1b[31m"},
]
SPAN_SHAPES = _pairwise(
    {
        "parent_span_id": [b"", b"p" * 8],
        "trace_state": ["", "rojo=00f067aa0ba902b7", "a=1,b=2,c=3,d=4"],
        "name": ["op", "", "GET /ä/🎉", "n" * 3_000],
        "kind": [0, 1, 2, 3, 4, 5, 99],
        "duration_ns": [0, 1, 5_000_000_000, -1_000],
        "attributes": ATTRIBUTES,
        "events": [[], [{}], [{"exception.message": "bad"}, ATTRIBUTES[3], {}]],
        "links": [[], [{}], [ATTRIBUTES[1], {}]],
        "status": [(0, ""), (1, ""), (2, ""), (2, "broken ✗"), (9, "")],
        "flags": [0, 1, 0x301, 2**32 - 1],
        "dropped": [(0, 0, 0), (1, 2, 3), (2**32 - 1, 0, 2**32 - 1)],
    }
)


def _span(shape: Mapping[str, Any], trace_id: bytes, number: int) -> Span:
    """A span of a shape."""
    start_ns = START_NS + number * 1_000
    span = Span(
        trace_id=trace_id,
        span_id=number.to_bytes(8, "big"),
        start_time_unix_nano=start_ns,
        end_time_unix_nano=start_ns + shape["duration_ns"],
        attributes=_pairs(shape["attributes"]),
        status={"code": shape["status"][0], "message": shape["status"][1]},
        dropped_attributes_count=shape["dropped"][0],
        dropped_events_count=shape["dropped"][1],
        dropped_links_count=shape["dropped"][2],
        **{name: shape[name] for name in ("parent_span_id", "trace_state", "name", "kind", "flags")},
    )
    for index, attributes in enumerate(shape["events"]):
        span.events.add(time_unix_nano=start_ns + index, name=f"event {index}", attributes=_pairs(attributes))
    for index, attributes in enumerate(shape["links"], 1):
        span.links.add(trace_id=b"l" * 16, span_id=index.to_bytes(8, "big"), attributes=_pairs(attributes), flags=index)
    return span


def _expected(
    shape: Mapping[str, Any], span: Span, resource: Mapping[str, Any], scope: tuple[str, str]
) -> dict[str, Any]:
    """What is to be read back of a span, from what it was made of."""
    return {
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_span_id": shape["parent_span_id"].hex(),
        **{name: shape[name] for name in ("trace_state", "name", "kind", "flags")},
        "start_ns": span.start_time_unix_nano,
        "end_ns": span.start_time_unix_nano + shape["duration_ns"],
        "status_code": shape["status"][0],
        "status_message": shape["status"][1],
        "attributes": _frozen(shape["attributes"]),
        "events": [(f"event {index}", _frozen(one)) for index, one in enumerate(shape["events"])],
        "links": [(index.to_bytes(8, "big").hex(), _frozen(one), index) for index, one in enumerate(shape["links"], 1)],
        "dropped": shape["dropped"],
        "resource": _frozen(resource),
        "scope": scope,
    }


def _read(span: Any) -> dict[str, Any]:
    """What was read back of a span."""
    names = ("trace_id", "span_id", "parent_span_id", "trace_state", "name", "kind", "flags", "start_ns", "end_ns")
    return {
        **{name: getattr(span, name) for name in (*names, "status_code", "status_message", "attributes")},
        "events": [(event.name, event.attributes) for event in span.events],
        "links": [(link.span_id, link.attributes, link.flags) for link in span.links],
        "dropped": (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count),
        "resource": span.resource.attributes,
        "scope": (span.scope.name, span.scope.version),
    }


def _row_request(number: int, row: Sequence[str]) -> tuple[ExportTraceServiceRequest, str, list[dict[str, Any]]]:
    """The request of a row of the table, its trace id, and what is to be read back."""
    resource_kind, scope_kind, span_kind = row
    shapes = {"None": [], "One": SPAN_SHAPES[:1], "Several": SPAN_SHAPES[1:6], "All": SPAN_SHAPES}[span_kind]
    trace_id = (number + 1).to_bytes(16, "big")
    request, expected = ExportTraceServiceRequest(), []
    group = request.resource_spans.add()
    if resource_kind != "Nil":
        group.resource.CopyFrom(Resource(attributes=_pairs(RESOURCES[resource_kind])))
    for index, scope in enumerate(SCOPES[scope_kind]):
        scope_spans = group.scope_spans.add()
        if scope_kind != "None":
            scope_spans.scope.name, scope_spans.scope.version = scope
        for place, shape in enumerate(shapes, 1 + 1_000 * index):
            span = _span(shape, trace_id, place)
            scope_spans.spans.append(span)
            expected.append(_expected(shape, span, RESOURCES[resource_kind], scope))
    return request, trace_id.hex(), expected


def _as_json(request: Any) -> bytes:
    """OTLP/JSON of a request: protobuf's own mapping, but for ids and enums."""
    document = json_format.MessageToDict(request, use_integers_for_enums=True)
    return orjson.dumps(_with_hex_ids(document))


def _with_hex_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_hex_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64decode(item).hex() if key in ID_FIELDS else _with_hex_ids(item) for key, item in value.items()
    }


def _send(live: Any, signal: Signal, request: Any, way: str, compression: str) -> bytes:
    """Send a request in one of the six ways; gives the response."""
    is_gzip = compression == "gzip"
    if way == "grpc":
        kind = grpc.Compression.Gzip if is_gzip else grpc.Compression.NoCompression
        response: bytes = live.call(signal, request.SerializeToString(), kind)
        return response
    body = request.SerializeToString() if way == "protobuf" else _as_json(request)
    headers = {"Content_Encoding": "gzip"} if is_gzip else {}
    reply = live.post(signal, gzip.compress(body) if is_gzip else body, way, **headers)
    assert reply.status == 200
    return b"" if reply.body == b"{}" else reply.body


def _in_order(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(spans, key=lambda span: span["span_id"])


@pytest.mark.skipif(not ROWS, reason="the OTLP fixtures are not beside this checkout")
@pytest.mark.parametrize(("way", "compression"), WAYS)
def test_every_row_of_the_trace_table_is_read_back(way: str, compression: str, live: Any) -> None:
    """32 pairs of resource, scopes and spans, the last in all shapes of our own pairwise table."""
    sent = [_row_request(number, row) for number, row in enumerate(ROWS)]

    responses = {_send(live, Signal.TRACES, request, way, compression) for request, _, _ in sent}

    assert responses == {b""}
    for _, trace_id, expected in sent:
        assert _in_order([_read(span) for span in live.store.traces.get(trace_id)]) == _in_order(expected)


DISTRIBUTIONS: dict[str, list[dict[str, Any]]] = {
    "histogram": [
        {"count": 6, "sum": 1.5, "bucket_counts": (1, 2, 3), "explicit_bounds": (0.5, 2.5), "min": -0.25, "max": 9.0},
        {"count": 2**63, "bucket_counts": (2**63,)},
        {"count": 3, "sum": float("inf"), "bucket_counts": (0, 3, 0), "explicit_bounds": (-1e300, 1e-300)},
        {"sum": 0.0, "bucket_counts": (0, 0), "explicit_bounds": (0.0,)},
        {"count": 4, "sum": 2.0},
    ],
    "exponential_histogram": [
        {
            "count": 10,
            "sum": 1.5,
            "scale": -2,
            "zero_count": 1,
            "zero_threshold": 0.25,
            "positive": {"offset": -3, "bucket_counts": (1, 2)},
            "negative": {"bucket_counts": (0, 6)},
            "min": -4.5,
            "max": 0.0,
        },
        {"count": 7, "scale": 20, "positive": {"offset": 2**31 - 1, "bucket_counts": (7,)}},
        {"count": 160, "sum": 0.0, "scale": -10, "positive": {"offset": -(2**31), "bucket_counts": (1,) * 160}},
        {"count": 5, "zero_count": 5},
        {"sum": 0.0},
    ],
    "summary": [
        {
            "count": 5,
            "sum": 1.5,
            "quantile_values": ({"value": -1.0}, {"quantile": 0.5}, {"quantile": 1.0, "value": 9.0}),
        },
        {"count": 2**63, "sum": -1.5},
        {"quantile_values": ({"quantile": 0.99, "value": float("inf")},)},
        {"count": 1, "sum": float("-inf")},
        {},
    ],
}
"""What a point says of a distribution; what stands nowhere is not told, or 0."""
EXEMPLARS: list[list[dict[str, Any]]] = [
    [],
    [
        {"as_double": 0.5, "time_unix_nano": START_NS, "trace_id": b"t" * 16, "span_id": b"s" * 8},
        {"as_int": -7, "time_unix_nano": START_NS + 1, "filtered_attributes": {"user": "u-1", "tries": 2}},
    ],
]
METRIC_SHAPES = _pairwise(
    {
        "type": ["gauge", "sum", "histogram", "exponential_histogram", "summary"],
        "temporality": [1, 2],
        "is_monotonic": [False, True],
        "unit": ["", "s", "{request}"],
        "value": [7, -(2**63), 0.5, float("inf"), 0],
        "distribution": [0, 1, 2, 3, 4],
        "start_ns": [0, START_NS - 10**10],
        "attributes": ATTRIBUTES,
        "exemplars": EXEMPLARS,
        "flags": [0, 1],
    }
)


def _metric(number: int, shape: Mapping[str, Any]) -> Metric:
    """A metric of a shape, with one point."""
    kind = shape["type"]
    metric = Metric(name=f"metric.{number}", unit=shape["unit"], description="d")
    data = getattr(metric, kind)
    point = data.data_points.add(
        time_unix_nano=START_NS,
        start_time_unix_nano=shape["start_ns"],
        attributes=_pairs(shape["attributes"]),
        flags=shape["flags"],
    )
    if kind in ("sum", "histogram", "exponential_histogram"):
        data.aggregation_temporality = shape["temporality"]
    if kind == "sum":
        data.is_monotonic = shape["is_monotonic"]
    if kind in DISTRIBUTIONS:
        point.MergeFrom(type(point)(**DISTRIBUTIONS[kind][shape["distribution"]]))
    elif isinstance(shape["value"], int):
        point.as_int = shape["value"]
    else:
        point.as_double = shape["value"]
    for exemplar in shape["exemplars"] if kind != "summary" else ():
        attributes = _pairs(exemplar.get("filtered_attributes", {}))
        point.exemplars.add(**{**exemplar, "filtered_attributes": attributes})
    return metric


def _expected_metric(shape: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be read back of a metric and its point, from what they were made of."""
    kind = shape["type"]
    distribution = DISTRIBUTIONS[kind][shape["distribution"]] if kind in DISTRIBUTIONS else {}
    told = {"start_time_unix_nano": shape["start_ns"], "flags": shape["flags"], "attributes": shape["attributes"]}
    detail = {name: value for name, value in told.items() if value} | {"time_unix_nano": START_NS} | distribution
    if shape["exemplars"] and kind != "summary":
        detail["exemplars"] = tuple(
            {name: value.hex() if name.endswith("_id") else value for name, value in exemplar.items()}
            for exemplar in shape["exemplars"]
        )
    if kind not in DISTRIBUTIONS:
        detail["as_int" if isinstance(shape["value"], int) else "as_double"] = shape["value"]
    return {
        "type": kind,
        "unit": shape["unit"],
        "description": "d",
        "temporality": shape["temporality"] if kind in ("sum", "histogram", "exponential_histogram") else 0,
        "is_monotonic": kind == "sum" and shape["is_monotonic"],
        "resource": {"service.name": "shop"},
        "scope": ("io.otel.one", "1.2"),
        "time_ns": START_NS,
        "start_ns": shape["start_ns"],
        "attributes": _frozen(shape["attributes"]),
        "value": None if kind in DISTRIBUTIONS else shape["value"],
        "count": distribution.get("count", 0) if kind in DISTRIBUTIONS else None,
        "sum": distribution.get("sum", 0.0 if kind == "summary" else None) if kind in DISTRIBUTIONS else None,
        "detail": _frozen(detail),
    }


def _read_metric(metric: Any) -> dict[str, Any]:
    """What was read back of a metric of one point."""
    (point,) = metric.points
    return {
        **{name: getattr(metric, name) for name in ("unit", "description", "temporality", "is_monotonic")},
        **{name: getattr(point, name) for name in ("time_ns", "start_ns", "value", "count", "sum", "detail")},
        "type": metric.type.value,
        "resource": metric.resource.attributes,
        "scope": (metric.scope.name, metric.scope.version),
        "attributes": point.attributes,
    }


@pytest.mark.parametrize(("way", "compression"), WAYS)
def test_every_shape_of_metric_is_read_back(way: str, compression: str, live: Any) -> None:
    """All five types with every bucket, bound, quantile and exemplar, both temporalities, gaps."""
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.extend(_pairs({"service.name": "shop"}))
    scope = group.scope_metrics.add(scope={"name": "io.otel.one", "version": "1.2"})
    scope.metrics.extend(_metric(number, shape) for number, shape in enumerate(METRIC_SHAPES))

    response = _send(live, Signal.METRICS, request, way, compression)

    assert b"rejected" not in response
    assert {(shape["type"], shape["distribution"]) for shape in METRIC_SHAPES} >= {
        (kind, number) for kind in DISTRIBUTIONS for number in range(5)
    }
    for number, shape in enumerate(METRIC_SHAPES):
        (metric,) = live.store.metrics.find(MetricQuery(f"metric.{number}", ALL_TIME)).metrics
        assert _read_metric(metric) == _expected_metric(shape)


LOG_SHAPES = _pairwise(
    {
        "time_ns": [0, START_NS],
        "observed_time_ns": [START_NS + 5, START_NS + 7],
        "severity_number": [0, 9, 24, 99],
        "severity_text": ["", "WARN", "sehr schlimm ✗"],
        "body": [
            None,
            "",
            "line\r\n\x1b[31m 🎉",
            0,
            -(2**63),
            0.5,
            True,
            b"\x00\xff",
            ["a", 1, None],
            {"a": {"b": [1]}},
        ],
        "attributes": ATTRIBUTES,
        "ids": [("", ""), ("74" * 16, ""), ("74" * 16, "73" * 8)],
        "event_name": ["", "browser.page_view"],
        "flags": [0, 1, 2**32 - 1],
        "dropped_attributes_count": [0, 2**32 - 1],
    }
)


@pytest.mark.parametrize(("way", "compression"), WAYS)
def test_every_shape_of_log_record_is_read_back(way: str, compression: str, live: Any) -> None:
    """Bodies of every kind, severities, links to traces, events."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.extend(_pairs(RESOURCES["Faas"]))
    scope = group.scope_logs.add(scope={"name": "io.otel.one", "version": "1.2"})
    for shape in LOG_SHAPES:
        plain = ("severity_number", "severity_text", "event_name", "flags", "dropped_attributes_count")
        scope.log_records.add(
            time_unix_nano=shape["time_ns"],
            observed_time_unix_nano=shape["observed_time_ns"],
            body=_any(shape["body"]),
            attributes=_pairs(shape["attributes"]),
            trace_id=bytes.fromhex(shape["ids"][0]),
            span_id=bytes.fromhex(shape["ids"][1]),
            **{name: shape[name] for name in plain},
        )

    assert _send(live, Signal.LOGS, request, way, compression) == b""

    read = live.store.logs.find(LogQuery(ALL_TIME, limit=len(LOG_SHAPES) + 1))
    found = [{name: _read_field(one, name) for name in LOG_SHAPES[0]} for one in read]
    assert sorted(map(repr, found)) == sorted(repr(_frozen(shape)) for shape in LOG_SHAPES)
    assert {(one.scope.name, one.scope.version) for one in read} == {("io.otel.one", "1.2")}
    assert all(one.resource.attributes == _frozen(RESOURCES["Faas"]) for one in read)


def _read_field(record: Any, name: str) -> Any:
    return (record.trace_id, record.span_id) if name == "ids" else getattr(record, name)


def _three_signals() -> list[tuple[Signal, bytes]]:
    """Requests of all signals, each of several."""
    requests: list[tuple[Signal, bytes]] = []
    for number in range(6):
        request, _, _ = _row_request(number, ("VMCloud", "Two", "Several"))
        requests.append((Signal.TRACES, request.SerializeToString()))
        metrics = ExportMetricsServiceRequest()
        metrics.resource_metrics.add().scope_metrics.add().metrics.append(_metric(number, METRIC_SHAPES[number]))
        requests.append((Signal.METRICS, metrics.SerializeToString()))
        logs = ExportLogsServiceRequest()
        records = logs.resource_logs.add().scope_logs.add().log_records
        for place in range(3):  # the last two are equal: two lines of a log that happen to say the same
            records.add(time_unix_nano=START_NS, body=_any(f"line {number}.{min(place, 1)}"))
        requests.append((Signal.LOGS, logs.SerializeToString()))
    return requests


def _stored_set(live: Any) -> Any:
    """Everything that is stored, in an order of its own."""
    spans = [
        _in_order([_read(span) for span in live.store.traces.get((number + 1).to_bytes(16, "big").hex())])
        for number in range(6)
    ]
    names = live.store.metrics.names()
    points = [live.store.metrics.find(MetricQuery(name, ALL_TIME)).metrics for name in names]
    records = sorted(map(repr, live.store.logs.find(LogQuery(ALL_TIME))))
    return spans, names, points, records


@pytest.mark.parametrize("senders", [1, 8])
def test_b09_resending_three_times_stores_the_same_set(senders: int, live: Any, tmp_path: Path) -> None:
    """Of all signals, in any order, over both transports, one after the other and all at once."""
    requests = _three_signals()
    for signal, body in requests:
        live.post(signal, body)
    once = _stored_set(live)
    again = requests * 3
    random.Random(senders).shuffle(again)

    with ThreadPoolExecutor(senders) as pool:
        ways = [live.post if index % 2 else live.call for index in range(len(again))]
        list(pool.map(lambda way, one: way(*one), ways, again))

    assert [len(once[0][0]), len(once[1]), len(once[3])] == [10, 6, 18]
    assert _stored_set(live) == once


@pytest.mark.parametrize(
    ("attributes", "events", "links", "text_bytes"),
    [(2_000, 0, 0, 1), (0, 10_000, 0, 1), (0, 0, 1_000, 1), (1, 0, 0, 1_048_576), (1, 0, 0, 30_000_000)],
)
def test_large_spans_are_kept_whole(attributes: int, events: int, links: int, text_bytes: int, live: Any) -> None:
    """The body limit alone bounds them: nothing is cut, so no dropped count has to be raised."""
    span = Span(trace_id=b"t" * 16, span_id=b"s" * 8, name="n" * text_bytes, start_time_unix_nano=START_NS)
    span.attributes.extend(_pairs({f"key {number}": "v" * text_bytes for number in range(attributes)}))
    for number in range(events):
        span.events.add(name=f"event {number}", time_unix_nano=START_NS + number)
    for number in range(links):
        span.links.add(trace_id=b"l" * 16, span_id=(number + 1).to_bytes(8, "big"))
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.append(span)

    assert _send(live, Signal.TRACES, request, "protobuf", "none") == b""

    (read,) = live.store.traces.get(span.trace_id.hex())
    assert read.name == span.name
    assert read.attributes == {f"key {number}": "v" * text_bytes for number in range(attributes)}
    assert (len(read.events), len(read.links), read.dropped_attributes_count) == (events, links, 0)
