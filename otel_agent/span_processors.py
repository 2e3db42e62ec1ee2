"""The processors of a provider, each told only what it listens to: most ignore half of what happens to a span."""

from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, SynchronousMultiSpanProcessor
from opentelemetry.trace import SpanKind

# By the number of a span's kind: what is called.
_Listeners = tuple[tuple[Callable[..., None], ...], ...]


class ListeningProcessors(SynchronousMultiSpanProcessor):
    """Tells the processors of a provider only what they listen to, and of spans of their `kinds` if they have any.

    `starts`, `endings` and `ends` are the methods it calls, by the number of a span's kind.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the library left it unannotated
        self.starts: _Listeners = ((),) * len(SpanKind)
        self.endings: _Listeners = self.starts
        self.ends: _Listeners = self.starts

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Add a processor; they are told in the order in which they were added."""
        super().add_span_processor(span_processor)
        self.starts, self.endings, self.ends = map(self._listeners, ("on_start", "_on_ending", "on_end"))

    def _listeners(self, name: str) -> _Listeners:
        deaf = getattr(SpanProcessor, name, None)  # an older SDK does not tell of spans that are ending
        listening = [p for p in self._span_processors if getattr(type(p), name, deaf) is not deaf]
        return tuple(
            tuple(getattr(p, name) for p in listening if kind in getattr(p, "kinds", SpanKind)) for kind in SpanKind
        )

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Tell of a span that starts."""
        for call in self.starts[_number(span.kind)]:
            call(span, parent_context=parent_context)

    def _on_ending(self, span: Span) -> None:
        for call in self.endings[_number(span.kind)]:
            call(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Tell of a span that has ended."""
        for call in self.ends[_number(span.kind)]:
            call(span)


def _number(kind: Any) -> int:
    """Return the number of a kind, and that of an internal span for what is none: the SDK takes anything."""
    return int(kind.value) if type(kind) is SpanKind else 0
