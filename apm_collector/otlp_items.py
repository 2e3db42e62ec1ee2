"""Which spans and log records are valid; takes the others out of a request, one by one.

The rules are those of the OTLP data model; what is still of use is repaired and remarked on instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from apm_collector.otlp_json import NOT_HEX

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8
NO_TRACE_ID = bytes(TRACE_ID_BYTES)
NO_SPAN_ID = bytes(SPAN_ID_BYTES)
_MAX_CAUSES = 5


@dataclass(slots=True)
class Findings:
    """What was wrong in a request: how many items were rejected by cause and in words, and repairs and remarks.

    `causes` has few and fixed words, `rejected` sentences that a sender can act on; both add up to the same number.
    """

    causes: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)
    is_changed: bool = False

    def reject(self, cause: str, why: str, items: int = 1) -> None:
        """Note that items are taken out."""
        self.causes[cause] += items
        self.rejected[why] += items
        self.is_changed = True

    def repair(self, what: str | None, times: int = 1) -> None:
        """Note that something was put right; `what` is None when the sender need not hear of it."""
        if what is not None:
            self.remark(what, times)
        self.is_changed = True

    def remark(self, what: str, times: int = 1) -> None:
        """Note something odd that is kept as it was sent."""
        self.remarks[what] += times

    def message(self, noun: str) -> str:
        """All causes in one line of English; "" when there are none. `noun` names the items in the plural."""
        lines = [
            f"{count:,} {noun.removesuffix('s') if count == 1 else noun} rejected: {why}"
            for why, count in self.rejected.most_common(_MAX_CAUSES)
        ]
        lines += [f"{what} ({count:,})" for what, count in self.remarks.most_common(_MAX_CAUSES)]
        return "; ".join(lines)


def keep(items: Any, kept: Sequence[Any]) -> None:
    """Leave in a repeated field only the items to keep."""
    if len(kept) < len(items):
        del items[:]
        items.extend(kept)


def is_id(value: bytes, none: bytes) -> bool:
    """Whether an id has the length of the all-zero one, and is not that."""
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
            spans = list(scope_spans.spans)
            kept = spans if _are_valid_spans(spans) else [span for span in spans if _is_valid_span(span, findings)]
            _check_links(kept, findings)
            if kept:
                _check_time_unit(kept[0], findings)
            keep(scope_spans.spans, kept)
            left += len(kept)
    return left


def _are_valid_spans(spans: list[Any]) -> bool:
    """Whether all ids of spans are valid, at C speed: reading a field is what costs."""
    trace_ids = list(map(_TRACE_ID_OF, spans))
    span_ids = list(map(_SPAN_ID_OF, spans))
    parent_ids = list(map(_PARENT_ID_OF, spans))
    return (
        {TRACE_ID_BYTES}.issuperset(map(len, trace_ids))
        and {SPAN_ID_BYTES}.issuperset(map(len, span_ids))
        and {0, SPAN_ID_BYTES}.issuperset(map(len, parent_ids))
        and NO_TRACE_ID not in trace_ids
        and NO_SPAN_ID not in span_ids
        and NO_SPAN_ID not in parent_ids
    )


_TRACE_ID_OF, _SPAN_ID_OF, _PARENT_ID_OF, _LINKS_OF = map(
    attrgetter, ("trace_id", "span_id", "parent_span_id", "links")
)


def _is_valid_span(span: Any, findings: Findings) -> bool:
    trace_id, span_id = span.trace_id, span.span_id
    if not is_id(trace_id, NO_TRACE_ID):
        findings.reject("invalid_trace_id", _id_fault("trace id", trace_id, NO_TRACE_ID))
        return False
    if not is_id(span_id, NO_SPAN_ID):
        findings.reject("invalid_span_id", _id_fault("span id", span_id, NO_SPAN_ID))
        return False
    _clear_bad_id(span, "parent_span_id", NO_SPAN_ID, findings)
    return True


def _check_links(spans: list[Any], findings: Findings) -> None:
    """Clear the invalid ids of links."""
    for links in filter(None, map(_LINKS_OF, spans)):
        for link in links:
            _clear_bad_id(link, "trace_id", NO_TRACE_ID, findings)
            _clear_bad_id(link, "span_id", NO_SPAN_ID, findings)


def _check_time_unit(span: Any, findings: Findings) -> None:
    """Remark on a time that is no nanoseconds. A sender errs in all its spans alike, so one of them tells."""
    for unit, nanoseconds in _WRONG_UNITS.items():
        if _PLAUSIBLE_TIMES_NS[0] <= span.start_time_unix_nano * nanoseconds < _PLAUSIBLE_TIMES_NS[1]:
            findings.remark(f"times look like {unit}, nanoseconds are needed")


_WRONG_UNITS = {"seconds": 10**9, "milliseconds": 10**6, "microseconds": 10**3}
_PLAUSIBLE_TIMES_NS = (1_400_000_000 * 10**9, 4_000_000_000 * 10**9)  # the years 2014 to 2096


def _clear_bad_id(holder: Any, name: str, none: bytes, findings: Findings) -> None:
    """Empty an optional id that is invalid; an all-zero one is a usual way to say "none"."""
    value = getattr(holder, name)
    if value and not is_id(value, none):
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
                _clear_bad_id(record, "trace_id", NO_TRACE_ID, findings)
                _clear_bad_id(record, "span_id", NO_SPAN_ID, findings)
                if record.span_id and not record.trace_id:
                    record.span_id = b""
                    findings.repair("cleared: span id without a trace id")
    return left
