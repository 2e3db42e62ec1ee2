"""The spans of this process that have started and not ended, and in which thread each has started."""

from threading import get_ident
from typing import Any
from weakref import ref

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from otel_agent.enrichments._worker import Worker
from otel_agent.forks import in_children
from otel_agent.span_watch import SPAN_ID, watch_spans


class OpenSpanTable(SpanProcessor):
    """Knows every open span by a weak reference, so that one which nobody ends is not kept.

    It runs on every span in the host's thread, so it does without a guard: nothing in it can raise.
    """

    def __init__(self) -> None:
        self._entries: dict[int, tuple[ref[Span], int]] = {}
        self._workers: tuple[Worker, ...] = ()
        self._is_installed = False

    def install(self, *workers: Worker) -> None:
        """Begin to watch the spans of the global provider; `workers` are woken when there is an open span."""
        self._workers += workers
        self._is_installed = self._is_installed or watch_spans(self)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the SDK's name
        """Take the span down."""
        context: Any = span._context
        self._entries[context[SPAN_ID]] = ref(span), get_ident()
        for worker in self._workers:
            if worker.is_idle:
                worker.wake()

    def on_end(self, span: ReadableSpan) -> None:
        """Strike it out."""
        context: Any = span._context
        if context is not None:
            self._entries.pop(context[SPAN_ID], None)

    def spans(self) -> list[tuple[Span, int]]:
        """Return the open spans and the ids of the threads they started in, those that started first coming first."""
        found = []
        for span_id, (reference, thread_id) in tuple(self._entries.items()):
            span = reference()
            if span is not None:
                found.append((span, thread_id))
            else:
                self._entries.pop(span_id, None)
        return found

    def parent_of(self, span: Span) -> Span | None:
        """Return the parent, if it is open and of this process."""
        entry = self._entries.get(span.parent.span_id) if span.parent else None
        return entry[0]() if entry else None

    def has_span_of(self, thread_id: int) -> bool:
        """Tell whether a span that started in the thread is open."""
        return thread_id in [started_in for _, started_in in tuple(self._entries.values())]

    def __bool__(self) -> bool:
        """Tell whether any span is open."""
        return bool(self._entries)

    def clear(self) -> None:
        """Forget all of them: they are the parent process's."""
        self._entries.clear()


TABLE = OpenSpanTable()
in_children(TABLE.clear)
