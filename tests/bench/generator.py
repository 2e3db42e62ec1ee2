"""OTLP requests of a made-up shop, fast: a few are encoded, and stamped anew with ids, times and numbers for each send.

A body is read as one little-endian number, so that a few big-integer sums stamp all of its fields at once (2 µs per
span, no loop). Nothing in a stamped body repeats but what repeats in real telemetry.
"""

from __future__ import annotations

import random
import re
import struct
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import orjson
from bench.shop import SERVICES, Draft, make_trace
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

SECOND_NS = 1_000_000_000
_SALT_STEP = 0x9E3779B1  # odd, so that 2^32 numbers give 2^32 salts
_MAX_SLOT = 0xEEEE

# Marked fields, as they stand in an encoded template. Ids and slots have no byte of a mark.
_TIME_MARK, _TRACE_MARK, _SPAN_MARK = b"\xf5\xf6", b"\xf7\xf8\xf9\xfa", b"\xfb\xfc\xfd\xfe"
_TIME = re.compile(rb"(.{4})(.{2})" + _TIME_MARK, re.DOTALL)  # offset from the start in ns, slot of the trace
_TRACE = re.compile(rb".{12}" + _TRACE_MARK, re.DOTALL)  # factor of the trace
_SPAN = re.compile(rb".{4}" + _SPAN_MARK, re.DOTALL)  # factor of the span
_DIGITS = re.compile(rb"~{2,}")
_JSON_PREFIX = b'"traceId":"________'
_PLAIN_BYTES = bytes(0x7D if byte == 0x7E else byte if byte < 0xEE else byte - 0x20 for byte in range(256))


class Request(NamedTuple):
    """One export request: its body, the number of its items, and the id of its first trace ("" if there is none)."""

    body: bytes
    item_count: int
    trace_id: str


class Template:
    """One encoded request with its marked fields taken out; `stamp` puts fresh ones in."""

    def __init__(self, encoded: bytes, item_count: int) -> None:
        self.item_count = item_count
        size = len(encoded)
        base, factors, times, slots, digits = bytearray(encoded), *(bytearray(size) for _ in range(4))
        for field in _TIME.finditer(encoded):
            at = field.start()
            times[at] = 1
            slots[at : at + 2] = field[2]
            base[at + 4 : at + 8] = bytes(4)
        for pattern, width in ((_TRACE, 12), (_SPAN, 4)):
            for field in pattern.finditer(encoded):
                factors[field.start() : field.start() + width] = field[0][:width]
                base[field.start() : field.end()] = bytes(len(field[0]))
        for field in _DIGITS.finditer(encoded):
            digits[field.start() : field.end()] = b"\x07" * len(field[0])
            base[field.start() : field.end()] = b"0" * len(field[0])
        first = _TRACE.search(encoded)
        self._trace_id_at = first.start() if first else None
        self._size = size
        self._base, self._factors, self._times, self._slots, self._digits = (
            int.from_bytes(part, "little") for part in (base, factors, times, slots, digits)
        )

    def stamp(self, number: int, start_ns: int, spread_ns: int) -> Request:
        """The request number `number`: its traces start within `spread_ns` from `start_ns`.

        Equal arguments give equal requests; another number gives other ids and literals everywhere.
        """
        salt = number * _SALT_STEP % 2**32
        dice = random.Random(number << 32 | self._size)
        body = (
            self._base
            + self._factors * salt
            + self._times * start_ns
            + self._slots * (spread_ns // _MAX_SLOT)
            + (dice.getrandbits(self._size * 8) & self._digits)
        ).to_bytes(self._size, "little")
        at = self._trace_id_at
        return Request(body, self.item_count, "" if at is None else body[at : at + 16].hex())


@dataclass(frozen=True)
class Generator:
    """Requests of all services, each of one service and at most `request_spans` spans, as SDKs send them.

    A wave is what `waves` holds one of: traces that lie whole in its requests.
    """

    waves: tuple[tuple[Template, ...], ...]

    @classmethod
    def make(cls, seed: int = 1, waves: int = 3, wave_spans: int = 20_000, request_spans: int = 512) -> Generator:
        """Encode the waves; takes about 70 µs per span."""
        return cls(tuple(_make_wave(random.Random(seed + wave), wave_spans, request_spans) for wave in range(waves)))

    def wave(self, number: int, start_ns: int, spread_ns: int = SECOND_NS) -> list[Request]:
        """The requests of wave `number` (from 1); its traces start within `spread_ns` from `start_ns`."""
        templates = self.waves[number % len(self.waves)]
        return [template.stamp(number, start_ns, spread_ns) for template in templates]

    @property
    def wave_spans(self) -> float:
        """How many spans a wave has on average."""
        return sum(template.item_count for wave in self.waves for template in wave) / len(self.waves)


def _make_wave(dice: random.Random, wave_spans: int, request_spans: int) -> tuple[Template, ...]:
    """Encode whole traces of about `wave_spans` spans; the last request of each service is a smaller one."""
    spans: dict[str, list[tuple[Draft, bytes, list[bytes], bytes]]] = {service: [] for service in SERVICES}
    count = 0
    while count < wave_spans:
        trace = make_trace(dice)
        trace_id = _factor(dice, 12) + _TRACE_MARK
        span_ids = [_factor(dice, 4) + _SPAN_MARK for _ in trace]
        slot = _factor(dice, 2)
        for span, span_id in zip(trace, span_ids, strict=True):
            parent_id = span_ids[span.parent] if span.parent >= 0 else b""
            spans[span.service].append((span, trace_id, [span_id, parent_id], slot))
        count += len(trace)
    templates = [
        Template(_encode(service, found[first : first + request_spans]), len(found[first : first + request_spans]))
        for service, found in spans.items()
        for first in range(0, len(found), request_spans)
    ]
    dice.shuffle(templates)
    return tuple(templates)


def _encode(service: str, drafts: list[tuple[Draft, bytes, list[bytes], bytes]]) -> bytes:
    """One request of one service, its spans grouped by scope."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add(resource=_resource(service))
    scopes: dict[str, Any] = {}
    for draft, trace_id, (span_id, parent_id), slot in drafts:
        if draft.scope not in scopes:
            scopes[draft.scope] = group.scope_spans.add()
            scopes[draft.scope].scope.name = f"opentelemetry.instrumentation.{draft.scope}"
            scopes[draft.scope].scope.version = "0.66b1"
        span = scopes[draft.scope].spans.add(
            trace_id=trace_id,
            span_id=span_id,
            parent_span_id=parent_id,
            flags=0x101,
            name=draft.name,
            kind=draft.kind,
            start_time_unix_nano=_marked_time(draft.start_ns, slot),
            end_time_unix_nano=_marked_time(draft.start_ns + draft.duration_ns, slot),
            attributes=_attributes(draft.attributes),
        )
        for name, time_ns, attributes in draft.events:
            span.events.add(name=name, time_unix_nano=_marked_time(time_ns, slot), attributes=_attributes(attributes))
        if draft.is_failed:
            span.status.code = 2
    return bytes(request.SerializeToString())


def make_log_template(seed: int = 1, records: int = 200) -> Template:
    """A request of log records of one service."""
    dice = random.Random(seed)
    request: Any = ExportLogsServiceRequest()
    group = request.resource_logs.add(resource=_resource("api"))
    scope = group.scope_logs.add()
    for _ in range(records):
        severity, text = dice.choices(((9, "INFO"), (13, "WARN"), (17, "ERROR")), (90, 8, 2))[0]
        record = scope.log_records.add(
            time_unix_nano=_marked_time(dice.randrange(SECOND_NS), _factor(dice, 2)),
            trace_id=_factor(dice, 12) + _TRACE_MARK,
            span_id=_factor(dice, 4) + _SPAN_MARK,
            severity_number=severity,
            severity_text=text,
            attributes=_attributes({"code.function.name": "shop.orders.place", "order.id": "o-~~~~~~~~"}),
        )
        record.body.string_value = "order ~~~~~~~ of customer ~~~~~~ placed in ~~~ ms"
    return Template(bytes(request.SerializeToString()), records)


def make_metric_template() -> Template:
    """A request of one moment: gauges, a growing sum and a delta histogram of every service, 12 points each."""
    request: Any = ExportMetricsServiceRequest()
    slot = bytes(2)
    now = _marked_time(0, slot)
    growing = now - 2**64  # the same bits as a signed number: this sum grows as time does
    for service in SERVICES:
        scope = request.resource_metrics.add(resource=_resource(service)).scope_metrics.add()
        gauge = scope.metrics.add(name="process.cpu.utilization", unit="1").gauge
        gauge.data_points.add(time_unix_nano=now, as_double=0.25)
        total = scope.metrics.add(name="shop.orders", unit="{order}").sum
        total.aggregation_temporality, total.is_monotonic = 2, True
        histogram = scope.metrics.add(name="http.server.request.duration", unit="s").histogram
        histogram.aggregation_temporality = 1
        for route in range(8):
            histogram.data_points.add(
                attributes=_attributes({"http.route": f"/r/{route}", "http.request.method": "GET"}),
                start_time_unix_nano=now,
                time_unix_nano=now,
                count=60,
                sum=1.5,
                explicit_bounds=[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0],
                bucket_counts=[4, 6, 20, 15, 8, 4, 2, 1, 0],
            )
        for kind in ("web", "mobile", "phone"):
            total.data_points.add(attributes=_attributes({"channel": kind}), time_unix_nano=now, as_int=growing)
    return Template(bytes(request.SerializeToString()), 12 * len(SERVICES))


def make_json_wave(generator: Generator, start_ns: int) -> list[Request]:
    """A wave in OTLP's JSON encoding; see `restamp_json`."""
    return [
        Request(_to_json(request.body), request.item_count, request.trace_id) for request in generator.wave(1, start_ns)
    ]


def restamp_json(wave: list[Request], number: int) -> list[Request]:
    """The same requests in traces of their own: encoding JSON anew takes 50 times as long."""
    prefix = b'"traceId":"%08x' % number
    return [
        Request(request.body.replace(_JSON_PREFIX, prefix), request.item_count, f"{number:08x}{request.trace_id[8:]}")
        for request in wave
    ]


def _to_json(body: bytes) -> bytes:
    request = ExportTraceServiceRequest.FromString(body)
    groups = [
        {
            "resource": {"attributes": [_json_attribute(one) for one in group.resource.attributes]},
            "scopeSpans": [
                {
                    "scope": {"name": scope.scope.name, "version": scope.scope.version},
                    "spans": [_json_span(span) for span in scope.spans],
                }
                for scope in group.scope_spans
            ],
        }
        for group in request.resource_spans
    ]
    return orjson.dumps({"resourceSpans": groups})


def _json_span(span: Any) -> dict[str, Any]:
    return {
        "traceId": "_" * 8 + span.trace_id.hex()[8:],
        "spanId": span.span_id.hex(),
        "parentSpanId": span.parent_span_id.hex(),
        "flags": span.flags,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.start_time_unix_nano),
        "endTimeUnixNano": str(span.end_time_unix_nano),
        "attributes": [_json_attribute(one) for one in span.attributes],
        "events": [
            {
                "name": event.name,
                "timeUnixNano": str(event.time_unix_nano),
                "attributes": [_json_attribute(one) for one in event.attributes],
            }
            for event in span.events
        ],
        "status": {"code": span.status.code},
    }


def _json_attribute(attribute: KeyValue) -> dict[str, Any]:
    value = attribute.value
    if value.HasField("int_value"):
        return {"key": attribute.key, "value": {"intValue": str(value.int_value)}}
    return {"key": attribute.key, "value": {"stringValue": value.string_value}}


def _factor(dice: random.Random, size: int) -> bytes:
    """Random bytes without a mark in them; never 0, so that a stamped id is never 0 either."""
    return dice.randbytes(size - 1).translate(_PLAIN_BYTES) + bytes([dice.randrange(1, 0x7E)])


def _marked_time(offset_ns: int, slot: bytes) -> int:
    """A time as a template has it; moved by some ns where it would hold a mark by chance."""
    while _TIME_MARK in (packed := struct.pack("<I", offset_ns) + slot) or b"~~" in packed:
        offset_ns += 1
    return int.from_bytes(struct.pack("<I", offset_ns) + slot + _TIME_MARK, "little")


@cache
def _attribute(key: str, value: str | int) -> KeyValue:
    any_value = AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)
    return KeyValue(key=key, value=any_value)


def _attributes(values: dict[str, Any]) -> list[KeyValue]:
    return [_attribute(key, value) for key, value in values.items()]


@cache
def _resource(service: str) -> Resource:
    return Resource(
        attributes=_attributes(
            {
                "service.name": service,
                "service.version": "2.14.0",
                "service.instance.id": f"{service}-7d9f8b6c5-x2x{len(service)}q",
                "deployment.environment.name": "production",
                "host.name": f"node-{len(service)}.eu.example",
                "process.pid": 1000 + len(service),
                "telemetry.sdk.language": "python",
                "telemetry.sdk.name": "opentelemetry",
                "telemetry.sdk.version": "1.45.1",
            }
        )
    )
