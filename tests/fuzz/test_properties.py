"""Whatever valid spans, metrics and logs hold: protobuf, JSON and what the store gives back say the same."""

from __future__ import annotations

import base64
import itertools
import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from apm_collector.errors import PermanentError
from apm_collector.otlp import decode
from apm_collector.otlp_wire import repair_text
from apm_store.api import Store
from apm_store.model import Signal
from apm_store.open import open_store
from apm_store.query import LogQuery, MetricQuery, TimeRange

EVER = TimeRange(0, 2**64)
ID_FIELDS = {"traceId", "spanId", "parentSpanId"}
TRACE_NUMBERS, METRIC_NUMBERS = itertools.count(1), itertools.count(1)
EXAMPLES = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "30")),
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    deadline=None,
)
"""Few and the same in every run of the suite; as many as FUZZ_EXAMPLES says, and new ones, under `make fuzz`."""


def _pairs(pairs: dict[str, AnyValue]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value) for key, value in pairs.items()]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.one_of(
        st.just(AnyValue()),
        texts.map(lambda value: AnyValue(string_value=value)),
        st.booleans().map(lambda value: AnyValue(bool_value=value)),
        st.integers(-(2**63), 2**63 - 1).map(lambda value: AnyValue(int_value=value)),
        st.floats(allow_nan=False).map(lambda value: AnyValue(double_value=value)),
        st.binary(max_size=20).map(lambda value: AnyValue(bytes_value=value)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: AnyValue(array_value=ArrayValue(values=items))),
        st.dictionaries(texts, inner, max_size=3).map(
            lambda pairs: AnyValue(kvlist_value=KeyValueList(values=_pairs(pairs)))
        ),
    ),
    max_leaves=6,
)
attributes = st.dictionaries(texts, values, max_size=4).map(_pairs)
uint32 = st.integers(0, 2**32 - 1)
times = st.integers(0, 2**63 - 2)  # the last nanosecond of SQLite is in no range


@st.composite
def spans(draw: Any) -> Span:
    """A span of any content; its ids are set later."""
    span = Span(
        name=draw(texts),
        kind=draw(st.integers(0, 2**31 - 1)),
        trace_state=draw(texts),
        flags=draw(uint32),
        start_time_unix_nano=draw(times),
        end_time_unix_nano=draw(times),
        attributes=draw(attributes),
        dropped_attributes_count=draw(uint32),
        status={"code": draw(st.integers(0, 5)), "message": draw(texts)},
    )
    for _ in range(draw(st.integers(0, 2))):
        span.events.add(time_unix_nano=draw(times), name=draw(texts), attributes=draw(attributes))
    for _ in range(draw(st.integers(0, 2))):
        ids = draw(st.binary(min_size=24, max_size=24).filter(lambda ids: any(ids[:16]) and any(ids[16:])))
        span.links.add(trace_id=ids[:16], span_id=ids[16:], attributes=draw(attributes))
    return span


@st.composite
def trace_requests(draw: Any) -> ExportTraceServiceRequest:
    """A request with one trace of its own."""
    trace_id = next(TRACE_NUMBERS).to_bytes(16, "big")
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.extend(draw(attributes))
    for scope in range(draw(st.integers(1, 2))):
        scope_spans = group.scope_spans.add()
        scope_spans.scope.name = draw(texts)
        for number, span in enumerate(draw(st.lists(spans(), min_size=1, max_size=3))):
            span.trace_id, span.span_id = trace_id, (scope * 100 + number + 1).to_bytes(8, "big")
            scope_spans.spans.append(span)
    return request


counts = st.lists(st.integers(0, 2**40), min_size=1, max_size=4)
numbers = st.floats(allow_nan=False)


def _distribution(draw: Any, kind: str) -> dict[str, Any]:
    """What a point of a kind measures."""
    if kind in ("gauge", "sum"):
        return draw(st.one_of(numbers.map(lambda it: {"as_double": it}), times.map(lambda it: {"as_int": it})))
    buckets = draw(counts)
    if kind == "histogram":
        told = {"bucket_counts": buckets, "explicit_bounds": range(len(buckets) - 1), "count": sum(buckets)}
    elif kind == "exponential_histogram":
        positive = {"offset": draw(st.integers(-(2**31), 2**31 - 1)), "bucket_counts": buckets}
        told = {"positive": positive, "scale": draw(st.integers(-10, 20)), "count": sum(buckets)}
    else:
        quantiles = [{"quantile": 0.5, "value": draw(numbers)}, {"quantile": 1.0, "value": draw(numbers)}]
        return {"quantile_values": quantiles, "count": draw(times), "sum": draw(numbers)}
    return told | {name: draw(numbers) for name in ("sum", "min", "max") if draw(st.booleans())}


@st.composite
def metric_requests(draw: Any) -> ExportMetricsServiceRequest:
    """A request with metrics of all kinds, whose names are theirs alone."""
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    for _ in range(draw(st.integers(1, 3))):
        metric = metrics.add(name=f"m{next(METRIC_NUMBERS)}{draw(texts)}", unit=draw(texts))
        kind = draw(st.sampled_from(["gauge", "sum", "histogram", "exponential_histogram", "summary"]))
        data = getattr(metric, kind)
        if kind not in ("gauge", "summary"):
            data.aggregation_temporality = draw(st.integers(1, 2))
        data.data_points.add(time_unix_nano=draw(times), attributes=draw(attributes), **_distribution(draw, kind))
    return request


@st.composite
def log_requests(draw: Any) -> ExportLogsServiceRequest:
    """A request with log records of one trace of its own."""
    trace_id = next(TRACE_NUMBERS).to_bytes(16, "big")
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for _ in range(draw(st.integers(1, 3))):
        records.add(
            time_unix_nano=draw(times),
            severity_number=draw(st.integers(0, 200)),
            severity_text=draw(texts),
            body=draw(values),
            attributes=draw(attributes),
            trace_id=trace_id,
            event_name=draw(texts),
            flags=draw(uint32),
        )
    return request


def _as_json(value: Any) -> Any:
    """OTLP/JSON out of protobuf's own JSON mapping: ids are hexadecimal."""
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: base64.b64decode(item).hex() if key in ID_FIELDS else _as_json(item) for key, item in value.items()}


def _json_body(request: Any) -> bytes:
    return orjson.dumps(_as_json(json_format.MessageToDict(request, use_integers_for_enums=True)))


REQUESTS = st.one_of(
    st.tuples(st.just(Signal.TRACES), trace_requests()),
    st.tuples(st.just(Signal.METRICS), metric_requests()),
    st.tuples(st.just(Signal.LOGS), log_requests()),
)


@EXAMPLES
@given(REQUESTS)
def test_both_encodings_decode_to_the_same_request(sent: tuple[Signal, Any]) -> None:
    """Which is the one that was sent, and its body is protobuf's own form of it."""
    signal, request = sent

    from_protobuf = decode(signal, request.SerializeToString(), "protobuf")
    from_json = decode(signal, _json_body(request), "json")

    assert from_protobuf.batch is not None
    assert from_json.batch is not None
    assert from_protobuf.batch.request == from_json.batch.request == request
    assert from_protobuf.batch.body == from_json.batch.body == request.SerializeToString()
    assert from_protobuf.message == from_json.message


@pytest.fixture(scope="module")
def any_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store for all examples: each brings a trace of its own."""
    store = open_store(Path(tmp_path_factory.mktemp("fuzz")) / "data")
    yield store
    store.close()


def _write(store: Store, body: bytes, signal: Signal = Signal.TRACES) -> None:
    batch = decode(signal, body, "protobuf").batch
    assert batch is not None
    getattr(store, signal.value).write(batch)


def _value(value: Any) -> AnyValue:
    """A value as OTLP writes it, from what the store gave back of it."""
    if value is None:
        return AnyValue()
    if isinstance(value, tuple):
        return AnyValue(array_value=ArrayValue(values=map(_value, value)))
    if isinstance(value, dict):
        return AnyValue(kvlist_value=KeyValueList(values=_again(value)))
    kinds = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value", bytes: "bytes_value"}
    return AnyValue(**{kinds[type(value)]: value})


def _again(pairs: Mapping[str, Any]) -> list[KeyValue]:
    return _pairs({key: _value(value) for key, value in pairs.items()})


@EXAMPLES
@given(trace_requests())
def test_the_store_gives_back_every_span_whole(any_store: Store, sent: ExportTraceServiceRequest) -> None:
    """Ids, times, names, every attribute with its type, and what events and links are, whatever the content."""
    spans_sent = {span.span_id.hex(): span for scope in sent.resource_spans[0].scope_spans for span in scope.spans}
    trace_id = next(iter(spans_sent.values())).trace_id.hex()
    _write(any_store, sent.SerializeToString())

    read = {span.span_id: span for span in any_store.traces.get(trace_id)}

    assert set(read) == set(spans_sent)
    for span_id, span in spans_sent.items():
        got = read[span_id]
        assert (got.name, got.kind, got.flags) == (span.name, span.kind, span.flags)
        assert (got.start_ns, got.end_ns) == (span.start_time_unix_nano, span.end_time_unix_nano)
        assert (got.status_code, got.status_message) == (span.status.code, span.status.message)
        assert _again(got.attributes) == list(span.attributes)
        assert [(event.name, event.time_ns, _again(event.attributes)) for event in got.events] == [
            (event.name, event.time_unix_nano, list(event.attributes)) for event in span.events
        ]
        assert [(link.trace_id + link.span_id, _again(link.attributes)) for link in got.links] == [
            ((link.trace_id + link.span_id).hex(), list(link.attributes)) for link in span.links
        ]


@EXAMPLES
@given(metric_requests())
def test_the_store_gives_back_every_data_point_whole(any_store: Store, sent: ExportMetricsServiceRequest) -> None:
    """Made anew from what is read, each point is the one that was sent, to the last bucket."""
    _write(any_store, sent.SerializeToString(), Signal.METRICS)

    for metric in sent.resource_metrics[0].scope_metrics[0].metrics:
        [read] = any_store.metrics.find(MetricQuery(metric.name, EVER)).metrics
        [point] = read.points
        [original] = getattr(metric, metric.WhichOneof("data")).data_points
        again = {**point.detail, "attributes": _again(point.attributes)}
        assert (read.type.value, read.unit) == (metric.WhichOneof("data"), metric.unit)
        assert type(original)(**again) == original


@EXAMPLES
@given(log_requests())
def test_the_store_gives_back_every_log_record_whole(any_store: Store, sent: ExportLogsServiceRequest) -> None:
    """Made anew from what is read, each record is one that was sent."""
    records = sent.resource_logs[0].scope_logs[0].log_records
    _write(any_store, sent.SerializeToString(), Signal.LOGS)

    read = any_store.logs.find(LogQuery(trace_id=records[0].trace_id.hex()))

    again = [
        LogRecord(
            time_unix_nano=one.time_ns,
            severity_number=one.severity_number,
            severity_text=one.severity_text,
            body=_value(one.body) if one.body is not None else AnyValue(),
            attributes=_again(one.attributes),
            trace_id=bytes.fromhex(one.trace_id),
            event_name=one.event_name,
            flags=one.flags,
        )
        for one in read
    ]
    assert sorted(one.SerializeToString() for one in again) == sorted(one.SerializeToString() for one in records)


@EXAMPLES
@given(trace_requests(), st.randoms(use_true_random=False))
def test_sending_again_in_any_order_changes_nothing(
    any_store: Store, sent: ExportTraceServiceRequest, dice: random.Random
) -> None:
    """Whole, span by span, and shuffled."""
    scope = sent.resource_spans[0].scope_spans[0]
    trace_id = scope.spans[0].trace_id.hex()
    _write(any_store, sent.SerializeToString())
    once = any_store.traces.get(trace_id)
    parts = []
    for span in scope.spans:
        part = ExportTraceServiceRequest()
        part.resource_spans.add().resource.CopyFrom(sent.resource_spans[0].resource)
        part.resource_spans[0].scope_spans.add().scope.CopyFrom(scope.scope)
        part.resource_spans[0].scope_spans[0].spans.append(span)
        parts.append(part.SerializeToString())
    parts += [sent.SerializeToString()] * 2
    dice.shuffle(parts)

    for body in parts:
        _write(any_store, body)

    assert any_store.traces.get(trace_id) == once


@EXAMPLES
@given(REQUESTS, st.integers(0, 10**6), st.binary(min_size=1, max_size=3))
def test_text_that_is_not_utf8_is_repaired_or_the_body_refused(
    sent: tuple[Signal, Any], place: int, junk: bytes
) -> None:
    """A changed body is decoded, repaired, or refused with the collector's own error; nothing else comes out."""
    signal, request = sent
    body = request.SerializeToString()
    place %= len(body) or 1

    try:
        decoded = decode(signal, body[:place] + junk + body[place + len(junk) :], "protobuf")
    except PermanentError:
        return

    if decoded.batch is not None:
        assert type(request).FromString(decoded.batch.body) == decoded.batch.request
        assert repair_text(decoded.batch.body, type(request))[1] == 0
