"""The processors of a provider, each told only what it listens to: most ignore half of what happens to a span."""

from collections.abc import Callable

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, SynchronousMultiSpanProcessor


class ListeningProcessors(SynchronousMultiSpanProcessor):
    """Tells the processors of a provider only what they listen to."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the library left it unannotated
        self._starts: tuple[Callable[..., None], ...] = ()
        self._endings: tuple[Callable[..., None], ...] = ()
        self._ends: tuple[Callable[..., None], ...] = ()

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Add a processor; they are told in the order in which they were added."""
        super().add_span_processor(span_processor)
        self._starts, self._endings, self._ends = map(self._listeners, ("on_start", "_on_ending", "on_end"))

    def _listeners(self, name: str) -> tuple[Callable[..., None], ...]:
        deaf = getattr(SpanProcessor, name, None)  # an older SDK does not tell of spans that are ending
        return tuple(getattr(p, name) for p in self._span_processors if getattr(type(p), name, deaf) is not deaf)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Tell of a span that starts."""
        for call in self._starts:
            call(span, parent_context=parent_context)

    def _on_ending(self, span: Span) -> None:
        for call in self._endings:
            call(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Tell of a span that has ended."""
        for call in self._ends:
            call(span)
