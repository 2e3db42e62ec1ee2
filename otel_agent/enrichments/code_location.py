"""Code location: the file, line and function of the host's code that queries a database, calls or sends a message."""

import sys
from types import FrameType
from typing import Any, cast

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor
from opentelemetry.trace import SpanKind

from otel_agent.source_files import code_attributes, host_frame
from otel_agent.span_watch import watch_spans


class CodeLocationProcessor(SpanProcessor):
    """Writes `code.*` on every CLIENT and PRODUCER span.

    It runs on each of them in the host's thread, so it does without a guard: nothing in it can raise.
    """

    kinds = frozenset({SpanKind.CLIENT, SpanKind.PRODUCER})

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Look up the stack for the caller; the stack is gone when the span ends."""
        kind = span.kind
        if kind is not SpanKind.CLIENT and kind is not SpanKind.PRODUCER:
            return
        frame = host_frame(sys._getframe(1)) or host_frame(_frame_beyond_greenlet())
        if frame is None:
            return
        place, attributes = code_attributes(frame), cast("Any", span._attributes)
        values, most = getattr(attributes, "_dict", None), attributes.maxlen
        has_room = most is None or (values is not None and len(values) + len(place) <= most)
        # Written past the SDK's inspection of values, which would cost more than all the rest, unless there are limits
        # to heed. Nobody else has seen the span yet, so no lock is needed.
        if type(values) is dict and has_room and attributes.max_value_len is None:
            values.update(place)
        else:
            span.set_attributes(place)


def _frame_beyond_greenlet() -> FrameType | None:
    """Return the frame that waits for SQLAlchemy's asyncio extension, which queries on a stack of its own."""
    greenlet = sys.modules.get("greenlet")
    if greenlet is None:
        return None
    current = greenlet.getcurrent()
    if not type(current).__module__.startswith("sqlalchemy."):
        return None  # the parent of a gevent greenlet has not called it
    frame: FrameType | None = current.parent.gr_frame
    return frame


def start() -> None:
    """Watch the spans of the global provider."""
    watch_spans(CodeLocationProcessor())
