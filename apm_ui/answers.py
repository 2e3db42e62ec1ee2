"""What the JSON API answers: the types that its OpenAPI schemas are made from, and how telemetry becomes them."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, Literal

from apm_analysis.red import ServiceRed
from apm_analysis.slo.burn_rate import BurnWindow, RuleStatus, SloStatus, State
from apm_analysis.slo.objective import Latency
from apm_analysis.slo.projection import Projection
from apm_analysis.trace_tree import TreeNode, build_tree
from apm_store.model import AttributeValue, LogRecord, Span, SpanEvent, SpanKind, SpanLink, StatusCode
from apm_store.query import Coverage, ServiceInfo, SpanRow, StatementCallers, TraceSummary
from apm_ui.pruned import prune_notice, pruned_before_ns


def json_value(value: AttributeValue) -> Any:
    """An attribute value as JSON can write it: bytes as `{"bytes": base64}`, numbers that are none as text.

    The texts are those of OTLP's JSON encoding: "NaN", "Infinity", "-Infinity".
    """
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, tuple | list):
        return [json_value(item) for item in value]
    if isinstance(value, Mapping):
        return {key: json_value(item) for key, item in value.items()}
    return value


@dataclass(frozen=True, slots=True)
class CoverageAnswer:
    """How much of the asked range the store holds (see `Coverage`), and how much of what it holds is in the answer.

    `total` items meet the question, or did before the search stopped; then `is_complete` is false.
    `notice` says so in words when raw data of the range was pruned; it is "" otherwise.
    """

    start_ns: int
    end_ns: int
    first_ns: int | None
    last_ns: int | None
    measured_minutes: int
    expected_minutes: int
    raw_since_ns: int | None
    total: int
    is_complete: bool
    notice: str

    @classmethod
    def of(cls, coverage: Coverage, total: int, *, is_complete: bool) -> CoverageAnswer:
        """The store's coverage of a range, for an answer with so many items."""
        return cls(
            start_ns=coverage.time_range.start_ns,
            end_ns=coverage.time_range.end_ns,
            first_ns=coverage.first_ns,
            last_ns=coverage.last_ns,
            measured_minutes=coverage.measured_minutes,
            expected_minutes=coverage.expected_minutes,
            raw_since_ns=coverage.raw_since_ns,
            total=total,
            is_complete=is_complete,
            notice=prune_notice(pruned_before_ns(coverage)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAnswer(ServiceRed):
    """A service that was ever seen and its requests in the range; without any, `count` is 0 and `series` is empty."""

    first_seen_ns: int
    last_seen_ns: int

    @classmethod
    def of(cls, info: ServiceInfo, red: ServiceRed | None) -> ServiceAnswer:
        """A known service with what its requests were, if there were any."""
        measures = {item.name: getattr(red or _SILENT, item.name) for item in fields(ServiceRed)}
        measures["service"] = info.name
        return cls(first_seen_ns=info.first_seen_ns, last_seen_ns=info.last_seen_ns, **measures)


_SILENT = ServiceRed(
    service="",
    count=0,
    failed_count=0,
    client_error_count=0,
    rate_per_second=0.0,
    failed_share=0.0,
    p50_ns=None,
    p95_ns=None,
    p99_ns=None,
    apdex=None,
    series=(),
)


@dataclass(frozen=True, slots=True)
class FoundTrace:
    """A trace that was found: the span that met the conditions, and the trace's own measures."""

    trace_id: str
    service: str
    operation: str
    start_ns: int
    duration_ns: int
    span_count: int
    error_count: int
    services: list[str]
    matched: SpanRow

    @classmethod
    def of(cls, found: TraceSummary) -> FoundTrace:
        """The measures of a found trace."""
        tree = build_tree(found.spans)
        root = tree.nodes[tree.root].span
        return cls(
            trace_id=found.trace_id,
            service=root.service,
            operation=root.operation,
            start_ns=tree.start_ns,
            duration_ns=tree.duration_ns,
            span_count=len(tree.nodes),
            error_count=sum(node.span.is_error for node in tree.nodes),
            services=sorted({node.span.service for node in tree.nodes}),
            matched=found.matched,
        )


@dataclass(frozen=True, slots=True)
class EventAnswer:
    """One span event."""

    time_ns: int
    name: str
    attributes: Mapping[str, Any]
    dropped_attributes_count: int


@dataclass(frozen=True, slots=True)
class LinkAnswer:
    """One span link."""

    trace_id: str
    span_id: str
    trace_state: str
    attributes: Mapping[str, Any]
    dropped_attributes_count: int
    flags: int


@dataclass(frozen=True, slots=True)
class ScopeAnswer:
    """The instrumentation library."""

    name: str
    version: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SpanAnswer:
    """One span with its place in the tree; unknown numbers of `kind` and `status` are given as their digits."""

    span_id: str
    parent_span_id: str
    service: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    duration_ns: int
    self_time_ns: int
    depth: int
    is_orphan: bool
    is_cycle_cut: bool
    status: str
    status_message: str
    trace_state: str
    flags: int
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    scope: ScopeAnswer
    events: list[EventAnswer]
    links: list[LinkAnswer]
    dropped_attributes_count: int
    dropped_events_count: int
    dropped_links_count: int

    @classmethod
    def of(cls, node: TreeNode) -> SpanAnswer:
        """A node of a tree of `Span`s with everything that OTLP said about its span."""
        span: Span = node.span
        return cls(
            span_id=span.span_id,
            parent_span_id=span.parent_span_id,
            service=span.service,
            name=span.name,
            kind=_name_of(SpanKind, span.kind),
            start_ns=span.start_ns,
            end_ns=span.end_ns,
            duration_ns=span.duration_ns,
            self_time_ns=node.self_time_ns,
            depth=node.depth,
            is_orphan=node.is_orphan,
            is_cycle_cut=node.is_cycle_cut,
            status=_name_of(StatusCode, span.status_code),
            status_message=span.status_message,
            trace_state=span.trace_state,
            flags=span.flags,
            attributes=json_value(span.attributes),
            resource=json_value(span.resource.attributes),
            scope=ScopeAnswer(span.scope.name, span.scope.version, json_value(span.scope.attributes)),
            events=[_event(event) for event in span.events],
            links=[_link(link) for link in span.links],
            dropped_attributes_count=span.dropped_attributes_count,
            dropped_events_count=span.dropped_events_count,
            dropped_links_count=span.dropped_links_count,
        )


def _name_of(kind: type[IntEnum], number: int) -> str:
    return kind(number).name.lower() if number in kind.__members__.values() else str(number)


def _event(event: SpanEvent) -> EventAnswer:
    return EventAnswer(event.time_ns, event.name, json_value(event.attributes), event.dropped_attributes_count)


def _link(link: SpanLink) -> LinkAnswer:
    return LinkAnswer(
        link.trace_id,
        link.span_id,
        link.trace_state,
        json_value(link.attributes),
        link.dropped_attributes_count,
        link.flags,
    )


@dataclass(frozen=True, slots=True)
class LogAnswer:
    """One log record; `body` may be any JSON value."""

    time_ns: int
    observed_time_ns: int
    severity_number: int
    severity_text: str
    body: Any
    attributes: Mapping[str, Any]
    service: str
    span_id: str
    event_name: str

    @classmethod
    def of(cls, record: LogRecord) -> LogAnswer:
        """A log record of the store."""
        return cls(
            time_ns=record.time_ns,
            observed_time_ns=record.observed_time_ns,
            severity_number=record.severity_number,
            severity_text=record.severity_text,
            body=json_value(record.body),
            attributes=json_value(record.attributes),
            service=record.service,
            span_id=record.span_id,
            event_name=record.event_name,
        )


@dataclass(frozen=True, slots=True)
class TraceAnswer:
    """A whole trace: its spans depth first, its log records newest first."""

    trace_id: str
    start_ns: int
    duration_ns: int
    spans: list[SpanAnswer]
    logs: list[LogAnswer]


@dataclass(frozen=True, slots=True)
class CallerAnswer:
    """An entry operation under which a statement ran, and how many of the sampled calls were its."""

    service: str
    operation: str
    calls: int


@dataclass(frozen=True, slots=True)
class CallersAnswer:
    """Who calls a statement, most calls first, counted over the newest `sampled_calls` of `total_calls`."""

    callers: list[CallerAnswer]
    sampled_calls: int
    total_calls: int

    @classmethod
    def of(cls, found: StatementCallers) -> CallersAnswer:
        """The callers that the store found."""
        return cls([CallerAnswer(*caller) for caller in found.callers], found.sampled, found.total)


@dataclass(frozen=True, slots=True)
class ObjectiveAnswer:
    """An objective and where it stands; see the burn-rate rules in the documentation."""

    name: str
    display_name: str
    description: str
    service: str
    operation: str | None
    kind: Literal["availability", "latency"]
    threshold_ns: int | None
    target: float
    window_ns: int
    state: State
    reason: str
    total: int
    bad: int
    attained: float | None
    budget_left: float | None
    allowed_bad: float
    windows: tuple[BurnWindow, ...]
    rules: tuple[RuleStatus, ...]
    exhaustion: Projection
    coverage_share: float

    @classmethod
    def of(cls, status: SloStatus) -> ObjectiveAnswer:
        """An evaluated objective."""
        objective, indicator = status.objective, status.objective.indicator
        return cls(
            name=objective.name,
            display_name=objective.display_name,
            description=objective.description,
            service=objective.service,
            operation=indicator.operation,
            kind="latency" if isinstance(indicator, Latency) else "availability",
            threshold_ns=indicator.threshold_ns if isinstance(indicator, Latency) else None,
            target=objective.target,
            window_ns=objective.window_ns,
            state=status.state,
            reason=status.reason,
            total=status.total,
            bad=status.bad,
            attained=status.attained,
            budget_left=status.budget_left,
            allowed_bad=status.allowed_bad,
            windows=status.windows,
            rules=status.rules,
            exhaustion=status.exhaustion,
            coverage_share=status.coverage_share,
        )


@dataclass(frozen=True, slots=True)
class SlosAnswer:
    """All objectives, worst first, and one sentence for each file that could not be used."""

    objectives: list[ObjectiveAnswer]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HealthAnswer:
    """That the store answers, and how much it holds."""

    status: Literal["ok"]
    spans: int
    log_records: int
    data_points: int
