"""Open spans: each is recorded as it stands after a second, so that what hangs or is killed shows where it was."""

import math
import time
from types import FrameType

from opentelemetry.sdk.trace import Span
from opentelemetry.util.types import AnyValue

from otel_agent.enrichments._current_spans import running_spans, waiting_spans
from otel_agent.enrichments._greenlets import follow_greenlets
from otel_agent.enrichments._open_span_table import TABLE
from otel_agent.enrichments._records import send
from otel_agent.enrichments._worker import Worker
from otel_agent.guard import guard
from otel_agent.settings import process_settings
from otel_agent.source_files import code_attributes, host_frame

NAME = "open_spans"

_AGAIN_S = 30
_MAX_RECORDS_PER_S = 100
_MAX_ATTRIBUTES = 64
_MAX_TEXT = 1024


class _Recorder:
    """Sends a record of every span that is open for `after_s`, and again every 30 s."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self.pause_s = min(after_s / 4, 0.25)
        self._due_ns: dict[int, int] = {}  # by span id: when to send the next record

    def tick(self) -> float | None:
        """Send what is due; return when to look again, None while no span is open."""
        spans, now_ns = [span for span, _ in TABLE.spans()], time.time_ns()
        is_open = {span.context.span_id for span in spans}
        self._due_ns = {span_id: due_ns for span_id, due_ns in self._due_ns.items() if span_id in is_open}
        most = max(1, int(_MAX_RECORDS_PER_S * self.pause_s))
        due = [span for span in spans if self._when_due_ns(span, now_ns) <= now_ns][:most]
        places: dict[int, FrameType] = {}
        if due:
            with guard("find out where open spans are"):
                places = _places()
        for span in due:
            self._due_ns[span.context.span_id] = now_ns + int(_AGAIN_S * 1e9)
            _send(span, now_ns, places.get(span.context.span_id))
        if not spans:
            return None
        next_s = (min(self._when_due_ns(span, now_ns) for span in spans) - now_ns) / 1e9
        # Spans that begin meanwhile are due later than that. Every look takes the interpreter's lock from the host.
        return max(self.pause_s, min(next_s, self._after_s))

    def _when_due_ns(self, span: Span, now_ns: int) -> float:
        """When to send the next record of a span, as Unix time; never of one that is not sampled."""
        if not span.context.trace_flags.sampled:
            return math.inf
        first_ns = (span.start_time or now_ns) + int(self._after_s * 1e9)
        return self._due_ns.get(span.context.span_id, first_ns)


def _places() -> dict[int, FrameType]:
    """Return by span id the host's frame that the span's thread or task is in; a parent is where its child is."""
    places: dict[int, FrameType] = {}
    for current, innermost in (*running_spans(), *waiting_spans()):
        span: Span | None = current
        frame = host_frame(innermost)
        while span is not None and frame is not None and span.context.span_id not in places:
            places[span.context.span_id] = frame
            span = TABLE.parent_of(span)
    return places


def _send(span: Span, now_ns: int, place: FrameType | None) -> None:
    start_ns = span.start_time or now_ns
    attributes: dict[str, AnyValue] = {
        "span.name": span.name,
        "span.kind": span.kind.name.lower(),
        "span.start_time_unix_nano": start_ns,
        "span.open_duration_ns": now_ns - start_ns,
    }
    if span.parent is not None:
        attributes["span.parent_span_id"] = f"{span.parent.span_id:016x}"
    if place is not None:
        attributes.update(code_attributes(place))
    send(NAME, "span.open", span, attributes, _so_far(span))


def _so_far(span: Span) -> dict[str, AnyValue]:
    """Return the attributes that the span has by now, bounded; the SDK has made plain values of them."""
    pairs = list((span.attributes or {}).items())[:_MAX_ATTRIBUTES]
    return {key: value[:_MAX_TEXT] if isinstance(value, str) else value for key, value in pairs}


def start() -> None:
    """Watch the spans of the global provider; the thread starts with the first of them."""
    follow_greenlets()
    TABLE.install(Worker("OpenSpans", _Recorder(process_settings().open_span_after_s).tick))
