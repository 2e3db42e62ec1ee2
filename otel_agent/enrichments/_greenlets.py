"""Greenlets: with gevent or eventlet a thread has many stacks, and each span is in one of them."""

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from types import FrameType, ModuleType
from typing import Any
from weakref import ref

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor

from otel_agent.imports import when_imported
from otel_agent.span_watch import watch_spans

_ATTRIBUTE = "_spanwise_greenlet"


class _GreenletProcessor(SpanProcessor):
    """Notes on every span the greenlet in which it starts.

    It runs on each of them in the host's thread, so it does without a guard: nothing in it can raise.
    """

    def __init__(self, current: Callable[[], Any]) -> None:
        self._current = current

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the SDK's name
        """Note it, without keeping it alive."""
        setattr(span, _ATTRIBUTE, ref(self._current()))


def follow_greenlets() -> None:
    """Have greenlets noted in hosts that use them for concurrency, from their import on."""
    for library in ("gevent", "eventlet"):
        when_imported(library, _begin)


def _begin(_library: ModuleType) -> None:
    global _is_followed  # noqa: PLW0603 - a process has one
    if not _is_followed:
        _is_followed = watch_spans(_GreenletProcessor(import_module("greenlet").getcurrent))


_is_followed = False


def waits_elsewhere(span: Span) -> bool:
    """Whether the span's greenlet is not the one that its thread runs."""
    greenlet = _greenlet_of(span)
    return greenlet is not None and (greenlet.dead or greenlet.gr_frame is not None)


def waiting_greenlets(spans: Iterable[Span]) -> Iterator[tuple[Span, FrameType]]:
    """Give the newest of the spans in each greenlet that waits, and its innermost frame."""
    newest = {id(greenlet): (span, greenlet) for span in spans if (greenlet := _greenlet_of(span)) is not None}
    for span, greenlet in newest.values():
        frame: FrameType | None = greenlet.gr_frame
        if frame is not None:
            yield span, frame


def _greenlet_of(span: Span) -> Any:
    noted = getattr(span, _ATTRIBUTE, None)
    return noted() if noted is not None else None
