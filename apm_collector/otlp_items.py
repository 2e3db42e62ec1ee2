"""Which spans, data points and log records are valid; takes the others out of a request, one by one.

The rules are those of the OTLP data model; what is still of use is repaired and remarked on instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from apm_collector.otlp_json import NOT_HEX

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8
_NO_TRACE_ID = bytes(TRACE_ID_BYTES)
_NO_SPAN_ID = bytes(SPAN_ID_BYTES)
_NO_RECORDED_VALUE = 1  # DataPointFlags
_MIN_SCALE, _MAX_SCALE = -10, 20  # of exponential histograms, as the SDK specification bounds them
_MAX_CAUSES = 5


@dataclass(slots=True)
class Findings:
    """What was wrong in a request: how often each cause led to a rejected item or to a repair."""

    rejected: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    is_changed: bool = False

    def reject(self, cause: str, items: int = 1) -> None:
        """Note that items are taken out."""
        self.rejected[cause] += items
        self.is_changed = True

    def repair(self, what: str | None, times: int = 1) -> None:
        """Note that something was put right; `what` is None when the sender need not hear of it."""
        if what is not None:
            self.repaired[what] += times
        self.is_changed = True

    def message(self, noun: str) -> str:
        """All causes in one line of English; "" when there are none. `noun` names the items in the plural."""
        lines = [
            f"{count:,} {noun.removesuffix('s') if count == 1 else noun} rejected: {cause}"
            for cause, count in self.rejected.most_common(_MAX_CAUSES)
        ]
        lines += [f"{what} ({count:,})" for what, count in self.repaired.most_common(_MAX_CAUSES)]
        return "; ".join(lines)


def _keep(items: Any, kept: Sequence[Any]) -> None:
    """Leave in a repeated field only the items to keep."""
    if len(kept) < len(items):
        del items[:]
        items.extend(kept)


def _is_id(value: bytes, none: bytes) -> bool:
    return len(value) == len(none) and value != none


def _id_fault(name: str, value: bytes, none: bytes) -> str:
    """Why an id is invalid."""
    if value == NOT_HEX:
        return f"{name} is not hexadecimal (base64 ids?)"
    if not value:
        return f"{name} is empty"
    if value == none:
        return f"{name} is all zero"
    return f"{name} is {len(value)} bytes, {len(none)} are needed (base64 ids?)"


def keep_valid_spans(request: Any, findings: Findings) -> int:
    """Take the spans without valid ids out of an ExportTraceServiceRequest; gives how many spans are left.

    An invalid parent id is cleared, so the span becomes a root; so are invalid ids of links.
    """
    left = 0
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            spans = scope_spans.spans
            kept = [span for span in spans if _is_valid_span(span, findings)]
            _keep(spans, kept)
            left += len(kept)
    return left


def _is_valid_span(span: Any, findings: Findings) -> bool:
    trace_id, span_id = span.trace_id, span.span_id
    if not _is_id(trace_id, _NO_TRACE_ID):
        findings.reject(_id_fault("trace id", trace_id, _NO_TRACE_ID))
        return False
    if not _is_id(span_id, _NO_SPAN_ID):
        findings.reject(_id_fault("span id", span_id, _NO_SPAN_ID))
        return False
    if span.parent_span_id:
        _clear_bad_id(span, "parent_span_id", _NO_SPAN_ID, findings)
    for link in span.links:
        _clear_bad_id(link, "trace_id", _NO_TRACE_ID, findings)
        _clear_bad_id(link, "span_id", _NO_SPAN_ID, findings)
    return True


def _clear_bad_id(holder: Any, name: str, none: bytes, findings: Findings) -> None:
    """Empty an optional id that is invalid; an all-zero one is a usual way to say "none"."""
    value = getattr(holder, name)
    if value and not _is_id(value, none):
        setattr(holder, name, b"")
        findings.repair(None if value == none else f"cleared: {_id_fault(name.replace('_', ' '), value, none)}")


def keep_valid_log_records(request: Any, findings: Findings) -> int:
    """Unlink the log records of an ExportLogsServiceRequest whose ids are invalid; gives how many records there are.

    A log record needs no ids, so none is taken out.
    """
    left = 0
    for resource_logs in request.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            left += len(scope_logs.log_records)
            for record in scope_logs.log_records:
                _clear_bad_id(record, "trace_id", _NO_TRACE_ID, findings)
                _clear_bad_id(record, "span_id", _NO_SPAN_ID, findings)
                if record.span_id and not record.trace_id:
                    record.span_id = b""
                    findings.repair("cleared: span id without a trace id")
    return left


def keep_valid_data_points(request: Any, findings: Findings) -> int:
    """Take invalid data points out of an ExportMetricsServiceRequest; gives how many data points are left."""
    left = 0
    for resource_metrics in request.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                left += _keep_valid_points(metric, findings)
    return left


def _keep_valid_points(metric: Any, findings: Findings) -> int:
    """Take invalid points out of one metric; gives how many are left."""
    data_type = metric.WhichOneof("data")
    if data_type is None:
        return 0
    data = getattr(metric, data_type)
    points = data.data_points
    cause = _metric_fault(metric, data_type, data)
    if cause is not None and points:
        findings.reject(cause, len(points))
        del points[:]
        return 0
    fault_of = _POINT_FAULTS[data_type]
    kept = []
    for point in points:
        fault = None if point.flags & _NO_RECORDED_VALUE else fault_of(point)
        if fault is None:
            _keep_valid_exemplars(point, data_type, findings)
            kept.append(point)
        else:
            findings.reject(fault)
    _keep(points, kept)
    return len(kept)


def _metric_fault(metric: Any, data_type: str, data: Any) -> str | None:
    """Why no point of a metric can be used."""
    if not metric.name:
        return "the metric has no name"
    if data_type in _WITH_TEMPORALITY and data.aggregation_temporality == 0:
        return "aggregation temporality is unspecified, delta (1) or cumulative (2) is needed"
    return None


_WITH_TEMPORALITY = frozenset({"sum", "histogram", "exponential_histogram"})


def _number_fault(point: Any) -> str | None:
    return None if point.WhichOneof("value") else "the data point has no value"


def _histogram_fault(point: Any) -> str | None:
    buckets, bounds = len(point.bucket_counts), point.explicit_bounds
    if buckets != len(bounds) + 1 and (buckets or len(bounds)):
        return (
            f"the histogram has {buckets} bucket counts and {len(bounds)} bounds, one more count than bounds is needed"
        )
    if any(not low < high for low, high in pairwise(bounds)):
        return "the bounds of the histogram do not increase"
    return None


def _exponential_fault(point: Any) -> str | None:
    if not _MIN_SCALE <= point.scale <= _MAX_SCALE:
        return f"the scale of the exponential histogram is {point.scale}, {_MIN_SCALE} to {_MAX_SCALE} are possible"
    return None


def _no_fault(_point: Any) -> str | None:
    return None


_POINT_FAULTS: dict[str, Callable[[Any], str | None]] = {
    "gauge": _number_fault,
    "sum": _number_fault,
    "histogram": _histogram_fault,
    "exponential_histogram": _exponential_fault,
    "summary": _no_fault,
}


def _keep_valid_exemplars(point: Any, data_type: str, findings: Findings) -> None:
    """Take out the exemplars whose ids cannot lead to a span; those without ids stay."""
    if data_type == "summary" or not point.exemplars:
        return
    kept = [exemplar for exemplar in point.exemplars if _is_valid_exemplar(exemplar)]
    if len(kept) < len(point.exemplars):
        findings.repair("exemplars left out: their ids are invalid", len(point.exemplars) - len(kept))
        _keep(point.exemplars, kept)


def _is_valid_exemplar(exemplar: Any) -> bool:
    trace_id, span_id = exemplar.trace_id, exemplar.span_id
    return (not trace_id and not span_id) or (_is_id(trace_id, _NO_TRACE_ID) and _is_id(span_id, _NO_SPAN_ID))
