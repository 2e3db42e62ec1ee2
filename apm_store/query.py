"""The questions that can be asked of a store, and the shape of its answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from apm_store.model import Metric
from apm_store.sketch import Sketch

MINUTE_NS = 60_000_000_000
HOUR_NS = 60 * MINUTE_NS


@dataclass(frozen=True, slots=True)
class TimeRange:
    """The half-open interval `[start_ns, end_ns)`."""

    start_ns: int
    end_ns: int

    @property
    def duration_ns(self) -> int:
        """How long the range is."""
        return max(0, self.end_ns - self.start_ns)


class Outcome(Enum):
    """How a request ended: `FAILED` = span status ERROR; `CLIENT_ERROR` = HTTP 4xx without it."""

    OK = "ok"
    CLIENT_ERROR = "4xx"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TraceQuery:
    """Which traces to find: those with ONE span that meets every condition.

    That span is an entry span (see `SpanAggregate`) unless `operation` or `attributes` is given; then it may be any.
    `attributes` are exact `key=value` pairs; resource attributes count too; numbers and booleans match their text
    as JSON writes it.
    `order` goes by the matched span (see `TraceSummary`): latest start first, or longest duration first.
    """

    time_range: TimeRange
    service: str | None = None
    operation: str | None = None
    outcome: Outcome | None = None
    min_duration_ns: int | None = None
    max_duration_ns: int | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    statement_id: str | None = None
    limit: int = 100
    order: str = "newest"  # or "slowest"


@dataclass(frozen=True, slots=True)
class SpanRow:
    """A span without its attributes: enough to draw, group and measure it."""

    trace_id: str
    span_id: str
    parent_span_id: str
    service: str
    operation: str
    kind: int
    start_ns: int
    duration_ns: int
    is_error: bool
    http_status: int | None


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """One found trace: the matched span, and all of its spans as rows in order of start.

    Of the spans in the range that meet the query the earliest is the matched one; of equals the longest.
    """

    trace_id: str
    matched: SpanRow
    spans: tuple[SpanRow, ...]


@dataclass(frozen=True, slots=True)
class TracePage:
    """The answer to a `TraceQuery`.

    `points` is the matched span of up to `max_points` traces, newest first, for charts;
    `traces` the first `limit` in the asked order. `total` counts every matching trace, or those counted
    before the scan stopped; then `is_complete` is false.
    """

    traces: tuple[TraceSummary, ...]
    points: tuple[SpanRow, ...]
    total: int
    is_complete: bool


class GroupBy(Enum):
    """What `SpanAggregate` can group by."""

    SERVICE = "service"
    OPERATION = "operation"
    KIND = "kind"


@dataclass(frozen=True, slots=True)
class SpanAggregate:
    """Measures over spans, read from roll-ups that are bucketed by span start.

    With `entry_only` it counts entry spans alone: kind SERVER or CONSUMER, or no parent, or a remote parent.
    Those are a service's requests. The range is widened to whole minutes.
    `step_ns` (whole minutes) splits the answer over time; `with_durations` fills `durations`.
    """

    time_range: TimeRange
    group_by: tuple[GroupBy, ...] = (GroupBy.SERVICE,)
    step_ns: int | None = None
    service: str | None = None
    operation: str | None = None
    entry_only: bool = True
    with_durations: bool = False


@dataclass(frozen=True, slots=True)
class AggregateRow:
    """One group (and step) of a `SpanAggregate`; `group` follows the order of `group_by`.

    `durations` are those of all spans, `ok_durations` of those that did not fail; both empty unless asked for.
    """

    group: tuple[str, ...]
    start_ns: int
    count: int
    failed_count: int
    client_error_count: int
    duration_sum_ns: int
    max_duration_ns: int
    slowest_trace_id: str
    durations: Sketch = field(default_factory=Sketch)
    ok_durations: Sketch = field(default_factory=Sketch)


@dataclass(frozen=True, slots=True)
class StatementAggregate:
    """Measures per normalised database statement, read from roll-ups; a call seen twice is counted once."""

    time_range: TimeRange
    service: str | None = None
    statement_id: str | None = None
    step_ns: int | None = None


@dataclass(frozen=True, slots=True)
class StatementRow:
    """One statement of one service (and step). `statement_id` is stable across restarts and stores."""

    statement_id: str
    text: str
    system: str
    namespace: str
    service: str
    start_ns: int
    count: int
    failed_count: int
    duration_sum_ns: int
    max_duration_ns: int
    slowest_trace_id: str
    durations: Sketch


@dataclass(frozen=True, slots=True)
class StatementCallers:
    """Who calls a statement: (service, operation of the entry span, calls), most calls first.

    Counted over the newest `sampled` of `total` calls.
    """

    callers: tuple[tuple[str, str, int], ...]
    sampled: int
    total: int


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """A service that has ever sent a span: `slot` is its stable colour number from 0."""

    name: str
    slot: int
    first_seen_ns: int
    last_seen_ns: int


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which log records to find, newest first; by trace, by span, by service."""

    time_range: TimeRange | None = None
    trace_id: str | None = None
    span_id: str | None = None
    service: str | None = None
    min_severity_number: int = 0
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class MetricQuery:
    """Which data points to find; `name` is exact."""

    name: str
    time_range: TimeRange
    service: str | None = None
    limit: int = 10_000


@dataclass(frozen=True, slots=True)
class MetricPage:
    """The metrics found; `is_complete` is false when `limit` cut the data points."""

    metrics: tuple[Metric, ...]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a question's range the store holds. Goes beside every number that is shown.

    `first_ns` / `last_ns` bound all stored spans (None when there are none);
    `measured_minutes` of `expected_minutes` of the range hold at least one span.
    """

    time_range: TimeRange
    first_ns: int | None
    last_ns: int | None
    measured_minutes: int
    expected_minutes: int


@dataclass(frozen=True, slots=True)
class StoreStats:
    """What the store holds and how fast it grows. Counts are of items; `version` changes with every commit."""

    spans: int
    log_records: int
    data_points: int
    bytes_on_disk: int
    spans_per_second: float
    version: int
