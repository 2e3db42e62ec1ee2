"""Which span a thread or a task is in, seen from another thread, where context variables cannot be read."""

import gc
import sys
from collections.abc import Iterator
from contextvars import Context, ContextVar
from functools import partial
from threading import Thread
from types import CoroutineType, FrameType
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import Span

from otel_agent.enrichments._greenlets import waiting_greenlets, waits_elsewhere
from otel_agent.enrichments._open_span_table import TABLE
from otel_agent.enrichments._running_loops import LOOPS
from otel_agent.source_files import is_host_file

if TYPE_CHECKING:
    from asyncio import Task

_MAX_TASKS = 1000
_MAX_DEPTH = 150


def running_spans() -> Iterator[tuple[Span, FrameType]]:
    """Give the current span and the innermost frame of every thread that is in a span."""
    newest = {thread_id: span for span, thread_id in TABLE.spans() if not waits_elsewhere(span)}
    for thread_id, frame in sys._current_frames().items():
        loop = LOOPS.get(thread_id)
        if loop is not None:
            span = span_of_task(sys.modules["asyncio"].current_task(loop))
        else:
            span = newest.get(thread_id) or _carried_span(frame)
        if span is not None:
            yield span, frame


def waiting_spans() -> Iterator[tuple[Span, FrameType]]:
    """Give the current span of every task and greenlet that waits, and where: of a task the host's innermost coroutine.

    A task without such a coroutine is left out.
    """
    yield from waiting_greenlets(span for span, _ in TABLE.spans())
    for loop in tuple(LOOPS.values()):
        tasks = sys.modules["asyncio"].all_tasks(loop)
        for task in list(tasks)[:_MAX_TASKS]:
            span, frame = span_of_task(task), _waiting_frame(task)
            if span is not None and frame is not None:
                yield span, frame


def span_of_task(task: "Task[Any] | None") -> Span | None:
    """Return the span that is current in the task's context."""
    if task is None:
        return None
    if hasattr(task, "get_context"):  # since Python 3.12
        return _span_in(task.get_context())
    return _span_in(next((item for item in gc.get_referents(task) if type(item) is Context), None))


def _span_in(context: Context | None) -> Span | None:
    variable = getattr(otel_context._RUNTIME_CONTEXT, "_current_context", None)
    if context is None or not isinstance(variable, ContextVar):
        return None
    return _span_of(context.get(variable))


def _span_of(context: object) -> Span | None:
    """Return the span of an OpenTelemetry context, if it is open."""
    span = trace.get_current_span(context) if type(context) is otel_context.Context else None
    return span if isinstance(span, Span) and span.is_recording() else None


def _carried_span(frame: FrameType | None) -> Span | None:
    """Return the span that was current where this thread, or what this thread of a pool does, was started.

    It is found in the local variables of those who carry contexts into threads: the threading instrumentation,
    asyncio.to_thread and anyio.
    """
    for _ in range(_MAX_DEPTH):
        if frame is None:
            break
        look = _CARRIERS.get(frame.f_code.co_name)
        if look is not None and (span := look(frame)) is not None:
            return span
        frame = frame.f_back
    return None


def _carried_by_run(frame: FrameType) -> Span | None:
    file_name = frame.f_code.co_filename.replace("\\", "/")
    if file_name.endswith("concurrent/futures/thread.py"):
        call = getattr(frame.f_locals.get("self"), "fn", None)
        context = getattr(call.func, "__self__", None) if type(call) is partial else None
    elif file_name.endswith("anyio/_backends/_asyncio.py"):
        context = frame.f_locals.get("context")
    else:
        return None
    return _span_in(context) if type(context) is Context else None


def _carried_by_submit(frame: FrameType) -> Span | None:
    return _span_of(frame.f_locals.get("otel_context"))


def _carried_by_thread(frame: FrameType) -> Span | None:
    thread = frame.f_locals.get("instance")
    return _span_of(vars(thread).get("_otel_context")) if isinstance(thread, Thread) else None


_CARRIERS = {
    "run": _carried_by_run,
    "wrapped_func": _carried_by_submit,
    "__wrap_threading_run": _carried_by_thread,
}


def _waiting_frame(task: "Task[Any]") -> FrameType | None:
    """Return the innermost frame of the host's own code along the chain of what the task awaits."""
    awaited: object = task.get_coro()
    found = None
    for _ in range(_MAX_DEPTH):
        if type(awaited) is not CoroutineType or awaited.cr_frame is None:
            break
        if is_host_file(awaited.cr_frame.f_code.co_filename):
            found = awaited.cr_frame
        awaited = awaited.cr_await
    return found
