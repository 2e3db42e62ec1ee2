"""The questions that can be asked of a store, and the shape of its answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

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
    """Measures per normalised database statement, read from roll-ups; a call seen twice is counted once.

    Without durations the sketches of the answer are empty.
    """

    time_range: TimeRange
    service: str | None = None
    statement_id: str | None = None
    step_ns: int | None = None
    with_durations: bool = True


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
    """Which log records to find, newest first; by trace, by span, by service, by event name.

    `without_events` leaves out records with one of these event names, so that `limit` counts the others alone.
    """

    time_range: TimeRange | None = None
    trace_id: str | None = None
    span_id: str | None = None
    service: str | None = None
    min_severity_number: int = 0
    event_name: str | None = None
    without_events: tuple[str, ...] = ()
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

    `first_ns` / `last_ns` bound all spans ever counted (None when there are none);
    `measured_minutes` of `expected_minutes` of the range hold at least one span.
    Spans that start before `raw_since_ns` may have been pruned: only roll-ups tell of them. None: nothing was pruned.
    """

    time_range: TimeRange
    first_ns: int | None
    last_ns: int | None
    measured_minutes: int
    expected_minutes: int
    raw_since_ns: int | None = None


@dataclass(frozen=True, slots=True)
class EdgeQuery:
    """Which edges of the service map to sum up; the range is widened to whole minutes."""

    time_range: TimeRange


@dataclass(frozen=True, slots=True)
class ServiceEdge:
    """Calls from one node of the service map to another.

    `kind` is `http`, `rpc`, `messaging`, `database` or `other`. A virtual node is one that sends no spans itself:
    a database or a foreign service (`is_virtual_target`), or the outside caller (`is_virtual_source`, named `user`).
    `client_durations` are those that the caller saw, `server_durations` those that the callee saw.
    """

    source: str
    target: str
    kind: str
    is_virtual_source: bool
    is_virtual_target: bool
    count: int
    failed_count: int
    client_durations: Sketch
    server_durations: Sketch


@dataclass(frozen=True, slots=True)
class MetricSeriesQuery:
    """One metric over time: `step_ns` splits the range into equal steps, aligned to the epoch."""

    name: str
    time_range: TimeRange
    step_ns: int
    service: str | None = None
    max_streams: int = 50


@dataclass(frozen=True, slots=True)
class MetricStep:
    """The points of one stream in one step: how many, and the least, greatest, sum and last of their values.

    For distributions the values are the points' sums, and `value_count` adds up their counts.
    """

    start_ns: int
    point_count: int
    min: float
    max: float
    sum: float
    last: float
    value_count: int


@dataclass(frozen=True, slots=True)
class MetricSeries:
    """One stream of a metric, step by step; steps without points are left out. `metric` has no points."""

    metric: Metric
    attributes: Mapping[str, Any]
    steps: tuple[MetricStep, ...]


@dataclass(frozen=True, slots=True)
class MetricSeriesPage:
    """The answer to a `MetricSeriesQuery`: the first `max_streams` of `total_streams`, most points first."""

    series: tuple[MetricSeries, ...]
    total_streams: int


@dataclass(frozen=True, slots=True)
class Retention:
    """What bounds a store: the bytes of its directory, and how long raw data stays, counted from its receipt.

    Without `budget_bytes` it is a tenth of the disk space that is free or held already, 5 GB at most; without
    `max_age_s` raw data may be of any age.
    """

    budget_bytes: int | None = None
    max_age_s: float | None = None


@dataclass(frozen=True, slots=True)
class PruneEntry:
    """One removal of raw data: when, why (`size`, `age`, `disk` or `request`), and what was removed."""

    time_ns: int
    reason: str
    first_ns: int
    last_ns: int
    spans: int
    log_records: int
    data_points: int
    freed_bytes: int
    kept_traces: int


@dataclass(frozen=True, slots=True)
class StoreNotice:
    """Something that a person must know of the store, such as a file set aside; `state` is `warn` or `critical`."""

    time_ns: int
    state: str
    text: str


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """How the store is doing.

    Per signal, in items since the store was made: `accepted` = `stored` + `duplicates` + `waiting`; what waits is
    durable but not searchable yet. `index_lag_s` is the age of the oldest that waits. `commit_p50_ms` / `commit_p99_ms`
    are over the last commits. `budget_bytes` bounds `bytes_on_disk`; `disk_free_bytes` is what the disk has left.
    """

    accepted: Mapping[str, int]
    stored: Mapping[str, int]
    duplicates: Mapping[str, int]
    waiting: Mapping[str, int]
    queue_bytes: int
    index_lag_s: float
    commit_p50_ms: float
    commit_p99_ms: float
    bytes_on_disk: int
    budget_bytes: int
    disk_free_bytes: int
    wal_bytes: int
    segments: int
    raw_since_ns: int | None
    prunes: tuple[PruneEntry, ...]
    notices: tuple[StoreNotice, ...]


@dataclass(frozen=True, slots=True)
class StoreStats:
    """What the store holds, and how many spans came in per second lately; `version` changes with every commit."""

    spans: int
    log_records: int
    data_points: int
    bytes_on_disk: int
    spans_per_second: float
    version: int
