"""Code location: the file, line and function of the host's code that queries a database, calls or sends a message."""

import sys
from types import CodeType, FrameType
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor
from opentelemetry.trace import SpanKind

from otel_agent.attribute_values import CleanAttributes
from otel_agent.source_files import code_attributes, host_frame
from otel_agent.span_watch import watch_spans

# How many attributes a place has.
_ADDED = 3
_MOST_KNOWN = 500


class CodeLocationProcessor(SpanProcessor):
    """Writes `code.*` on every CLIENT and PRODUCER span.

    It runs on each of them in the host's thread, so it does without a guard: nothing in it can raise.
    """

    kinds = frozenset({SpanKind.CLIENT, SpanKind.PRODUCER})

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Look up the stack for the caller; the stack is gone when the span ends."""
        kind = span._kind
        if kind is not SpanKind.CLIENT and kind is not SpanKind.PRODUCER:
            return
        frame = host_frame(sys._getframe(1)) or host_frame(_frame_beyond_greenlet())
        if frame is None:
            return
        attributes: Any = span._attributes
        # Written past the SDK's inspection of values, which would cost more than all the rest, unless there are limits
        # to heed. Nobody else has seen the span yet, so no lock is needed.
        if not (hasattr(attributes, "is_lean") and attributes.has_room_for(_ADDED)):
            span.set_attributes(code_attributes(frame))
        elif type(attributes._dict) is CleanAttributes:
            attributes._dict = _placed(attributes._dict, frame)
        else:
            attributes._dict.update(code_attributes(frame))


# What certain attributes are with a place in the code, and that place; by their identities, as they live on here.
_known: dict[tuple[int, int, int, str | None], tuple[CleanAttributes, CodeType, CleanAttributes]] = {}


def _placed(attributes: CleanAttributes, frame: FrameType) -> CleanAttributes:
    """Return attributes that many spans share together with the place of this one, which many share, too."""
    code, module = frame.f_code, frame.f_globals.get("__name__")
    key = id(attributes), id(code), frame.f_lineno or 0, module if type(module) is str else None
    known = _known.get(key)
    if known is None:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        known = _known[key] = attributes, code, CleanAttributes({**attributes, **code_attributes(frame)})
    return known[2]


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
