"""The nouns of telemetry as the read path sees them, and the `Batch` that the write path carries.

Times are integer nanoseconds since the Unix epoch; ids are lower-case hex strings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any

AttributeValue = str | bool | int | float | bytes | tuple[Any, ...] | Mapping[str, Any] | None
Attributes = Mapping[str, AttributeValue]


class Signal(Enum):
    """The three kinds of telemetry that a batch can carry."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"


class SpanKind(IntEnum):
    """OTLP `Span.SpanKind`, with its wire numbers."""

    UNSPECIFIED = 0
    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class StatusCode(IntEnum):
    """OTLP `Status.StatusCode`, with its wire numbers."""

    UNSET = 0
    OK = 1
    ERROR = 2


@dataclass(frozen=True, slots=True)
class Batch:
    """One OTLP export request that passed validation: what a Consumer consumes.

    `request` is the protobuf `Export{Trace,Metrics,Logs}ServiceRequest`; it holds valid items only.
    `body` is `request` serialised, and is what the store keeps, so no field of OTLP is lost.
    `item_count` counts spans, data points or log records.
    """

    signal: Signal
    request: Any
    body: bytes
    item_count: int


@dataclass(frozen=True, slots=True)
class Resource:
    """The entity that produced telemetry: a process of a service."""

    attributes: Attributes = field(default_factory=dict)
    dropped_attributes_count: int = 0
    schema_url: str = ""

    @property
    def service_name(self) -> str:
        """The `service.name` attribute, or `unknown_service` when it is absent, empty or no string."""
        name = self.attributes.get("service.name")
        return name if isinstance(name, str) and name else "unknown_service"


@dataclass(frozen=True, slots=True)
class Scope:
    """The instrumentation library that made the telemetry."""

    name: str = ""
    version: str = ""
    attributes: Attributes = field(default_factory=dict)
    dropped_attributes_count: int = 0
    schema_url: str = ""


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened at one moment of a span."""

    time_ns: int
    name: str
    attributes: Attributes = field(default_factory=dict)
    dropped_attributes_count: int = 0


@dataclass(frozen=True, slots=True)
class SpanLink:
    """A pointer to another span; never a parent."""

    trace_id: str
    span_id: str
    trace_state: str = ""
    attributes: Attributes = field(default_factory=dict)
    dropped_attributes_count: int = 0
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """One operation of one service, complete with everything OTLP said about it.

    `kind` and `status_code` keep unknown wire numbers as they came.
    `parent_span_id` is "" for a root. `is_open`: the span has not ended, `end_ns` is when it was last heard of.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    status_code: int
    status_message: str
    attributes: Attributes
    events: tuple[SpanEvent, ...]
    links: tuple[SpanLink, ...]
    resource: Resource
    scope: Scope
    trace_state: str = ""
    flags: int = 0
    dropped_attributes_count: int = 0
    dropped_events_count: int = 0
    dropped_links_count: int = 0
    is_open: bool = False

    @property
    def duration_ns(self) -> int:
        """End minus start, never negative: a span that ends before it starts lasts 0 ns."""
        return max(0, self.end_ns - self.start_ns)

    @property
    def service(self) -> str:
        """The service that made the span."""
        return self.resource.service_name

    @property
    def is_error(self) -> bool:
        """Whether the span's status says that it failed."""
        return self.status_code == StatusCode.ERROR


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One log record; `trace_id` and `span_id` are "" where it is linked to no span."""

    time_ns: int
    observed_time_ns: int
    severity_number: int
    severity_text: str
    body: AttributeValue
    attributes: Attributes
    resource: Resource
    scope: Scope
    trace_id: str = ""
    span_id: str = ""
    event_name: str = ""
    flags: int = 0
    dropped_attributes_count: int = 0

    @property
    def service(self) -> str:
        """The service that wrote the log record."""
        return self.resource.service_name


class MetricType(Enum):
    """OTLP's five metric data types."""

    GAUGE = "gauge"
    SUM = "sum"
    HISTOGRAM = "histogram"
    EXPONENTIAL_HISTOGRAM = "exponential_histogram"
    SUMMARY = "summary"


@dataclass(frozen=True, slots=True)
class DataPoint:
    """One point of one metric stream.

    `value` is set for gauge and sum; `count` and `sum` for the three distribution types.
    `detail` is the whole OTLP data point as plain data (buckets, quantiles, exemplars, flags).
    """

    time_ns: int
    start_ns: int
    attributes: Attributes
    value: int | float | None
    count: int | None
    sum: float | None
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of one resource and scope with some of its data points, oldest first."""

    name: str
    description: str
    unit: str
    type: MetricType
    temporality: int
    is_monotonic: bool
    resource: Resource
    scope: Scope
    points: tuple[DataPoint, ...]
    metadata: Attributes = field(default_factory=dict)

    @property
    def service(self) -> str:
        """The service that recorded the metric."""
        return self.resource.service_name
