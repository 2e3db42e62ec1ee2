"""Records of spans that have not ended → the spans as they stand, so that what hangs or was killed can be shown."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from apm_store.model import LogRecord, Span, SpanKind, StatusCode

EVENT_NAME = "span.open"
# A record comes every 30 s while the span is open; half as long again is more than it is ever late.
SILENT_AFTER_NS = 45_000_000_000
PLACE_KEYS = ("code.file.path", "code.line.number", "code.function.name")


def open_spans(records: Iterable[LogRecord], finished: Container[str] = ()) -> list[Span]:
    """The spans that `records` tell of as last heard of, in order of start, without those whose ids are `finished`.

    `end_ns` is the start plus the time the span was open by then; `attributes` are those so far and the place in the
    code where it was. Records of other events, and those that name no span or time, are left out.
    """
    newest: dict[tuple[str, str], Span] = {}
    for record in records:
        span = _span(record) if record.event_name == EVENT_NAME and record.span_id not in finished else None
        if span is None:
            continue
        known = newest.get((span.trace_id, span.span_id))
        if known is None or known.end_ns < span.end_ns:
            newest[span.trace_id, span.span_id] = span
    return sorted(newest.values(), key=lambda span: (span.start_ns, -span.duration_ns))


def is_silent(span: Span, now_ns: int) -> bool:
    """Whether an open span was not heard of for so long that its process must have ended, or have been cut off."""
    return now_ns - span.end_ns > SILENT_AFTER_NS


def outer_first(spans: Iterable[Span]) -> list[Span]:
    """Open spans whose parent is not open before the others, among each the longest open first."""
    spans = list(spans)
    ids = {(span.trace_id, span.span_id) for span in spans}
    return sorted(spans, key=lambda span: ((span.trace_id, span.parent_span_id) in ids, -span.duration_ns))


def root_most(spans: Iterable[Span]) -> list[Span]:
    """Of each trace the span that is open longest of those whose parent is not open; longest open first."""
    first: dict[str, Span] = {}
    for span in outer_first(spans):
        first.setdefault(span.trace_id, span)
    return sorted(first.values(), key=lambda span: -span.duration_ns)


def _span(record: LogRecord) -> Span | None:
    told = record.attributes
    start_ns, open_ns = _ns(told.get("span.start_time_unix_nano")), _ns(told.get("span.open_duration_ns"))
    if not record.trace_id or not record.span_id or not start_ns or open_ns is None:
        return None
    so_far = record.body if isinstance(record.body, dict) else {}
    return Span(
        trace_id=record.trace_id,
        span_id=record.span_id,
        parent_span_id=_text(told.get("span.parent_span_id")),
        name=_text(told.get("span.name")),
        kind=_kind(_text(told.get("span.kind"))),
        start_ns=start_ns,
        end_ns=start_ns + open_ns,
        status_code=StatusCode.UNSET,
        status_message="",
        attributes={**so_far, **{key: told[key] for key in PLACE_KEYS if key in told}},
        events=(),
        links=(),
        resource=record.resource,
        scope=record.scope,
        is_open=True,
    )


def _ns(value: Any) -> int | None:
    is_time = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62
    return value if is_time else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _kind(name: str) -> int:
    return SpanKind.__members__.get(name.upper(), SpanKind.UNSPECIFIED)
