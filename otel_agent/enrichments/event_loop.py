"""Event loops: how late they run, which spans waited for them meanwhile, and the line of code that held them up."""

import asyncio
import asyncio.base_events
import asyncio.events
import asyncio.runners
import math
import sys
import time
from contextvars import Context
from threading import get_ident
from types import CodeType, FrameType

from opentelemetry import metrics
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context as OtelContext
from opentelemetry.sdk.trace import Span, SpanProcessor
from opentelemetry.util.types import AnyValue

from otel_agent.enrichments._current_spans import span_of_task
from otel_agent.enrichments._open_span_table import TABLE
from otel_agent.enrichments._records import send
from otel_agent.enrichments._running_loops import follow_loops, run_forever
from otel_agent.enrichments._worker import Worker
from otel_agent.forks import in_children
from otel_agent.guard import guard
from otel_agent.source_files import code_attributes, is_host_file
from otel_agent.span_watch import watch_spans

NAME = "event_loop"

# While a span is open in the loop, and while none is: a timer that wakes an idle process costs more than it tells.
_BEAT_S = 0.05
_IDLE_BEAT_S = 0.6
# From this lag on, spans are told that they waited.
_BLOCKED_S = 0.05
# So late a heartbeat makes the watchdog look at what the loop is doing.
_LATE_S = 0.1
# While all heartbeats are in time: every look takes the interpreter's lock from the host.
_LOOK_S = 0.2
_MAX_DELAYED_SPANS = 100
_MAX_CALLS_PER_BLOCK = 5
_MAX_FRAMES = 30
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

_CALLBACK = asyncio.events.Handle._run.__code__
_LOOP_FILES = (asyncio.base_events.__file__, asyncio.runners.__file__)


class _Heartbeat:
    """A timer of one loop that measures by how much it is late; made, and called but for one method, in its thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, watchdog: "Watchdog", lag: metrics.Histogram) -> None:
        self.loop, self.thread_id, self._watchdog, self._lag = loop, get_ident(), watchdog, lag
        self.beats = 0
        self._context = Context()
        self._named: set[tuple[CodeType, int | None]] = set()
        self._schedule(_BEAT_S)

    def _schedule(self, pause_s: float) -> None:
        self.is_slow = pause_s > _BEAT_S
        self.due_s = time.monotonic() + pause_s
        self._timer = self.loop.call_later(pause_s, self._beat, context=self._context)
        self._watchdog.watch(self)

    def _beat(self) -> None:
        with guard("measure the lag of an event loop"):
            lag_s = max(0.0, time.monotonic() - self.due_s)
            self._lag.record(lag_s)
            if lag_s >= _BLOCKED_S:
                self._tell_delayed_spans(lag_s)
            self.beats += 1
            self._named.clear()
            self._schedule(_BEAT_S if TABLE.has_span_of(self.thread_id) else _IDLE_BEAT_S)

    def hurry(self) -> None:
        """Beat fast from now on: a span begins."""
        with guard("measure an event loop more often"):
            self._timer.cancel()
            self._schedule(_BEAT_S)

    def stop(self) -> None:
        """Beat no more."""
        self._watchdog.heartbeats.pop(self.thread_id, None)
        self._timer.cancel()

    def _tell_delayed_spans(self, lag_s: float) -> None:
        """Add an event to the spans of this loop that were open all that time."""
        began_ns = time.time_ns() - int(lag_s * 1e9)
        delayed = [
            span
            for span, thread_id in TABLE.spans()
            if thread_id == self.thread_id and (span.start_time or 0) <= began_ns
        ]
        for span in delayed[-_MAX_DELAYED_SPANS:]:
            span.add_event("event_loop.blocked", {"event_loop.blocked.duration": lag_s}, began_ns)

    def name_the_call(self) -> None:
        """Record what holds up the loop, each line once; called by the watchdog in a thread of its own."""
        beats, late_s = self.beats, time.monotonic() - self.due_s
        task = asyncio.current_task(self.loop)
        frames = _frames_of_callback(sys._current_frames().get(self.thread_id))
        if not frames or len(self._named) >= _MAX_CALLS_PER_BLOCK:
            return
        culprit = next((frame for frame in frames if is_host_file(frame.f_code.co_filename)), frames[0])
        line = (culprit.f_code, culprit.f_lineno)
        if self.beats == beats and line not in self._named:
            self._named.add(line)
            _report(span_of_task(task), culprit, frames, late_s)


def _frames_of_callback(frame: FrameType | None) -> list[FrameType]:
    """Return the frames of the callback that the loop runs, innermost first; none if it waits for something to do."""
    frames: list[FrameType] = []
    while frame is not None and frame.f_code is not _CALLBACK:
        if frame.f_code is run_forever.__code__:
            # No callback of asyncio's: the loop itself, or a callback of uvloop's, which has no frame of its own.
            outermost = frames[-1].f_code.co_filename if frames else ""
            return [] if outermost in _LOOP_FILES else frames
        frames.append(frame)
        frame = frame.f_back
    return frames if frame is not None else []


def _report(span: Span | None, culprit: FrameType, frames: list[FrameType], late_s: float) -> None:
    attributes: dict[str, str | int | float] = {
        **code_attributes(culprit),
        "code.stacktrace": _stack_trace(frames),
        "blocking_call.least_duration": late_s,
    }
    if span is not None:
        span.add_event("blocking_call", attributes)
        return
    body: AnyValue = f"a call holds up the event loop: {culprit.f_code.co_filename}:{culprit.f_lineno}"
    send(NAME, "blocking_call", None, attributes, body, SeverityNumber.WARN)


def _stack_trace(frames: list[FrameType]) -> str:
    """Write the frames as a traceback would, the outermost first, without source lines."""
    lines = [f'  File "{f.f_code.co_filename}", line {f.f_lineno}, in {f.f_code.co_name}' for f in frames[:_MAX_FRAMES]]
    return "\n".join(reversed(lines))


class Watchdog(SpanProcessor):
    """A thread that looks at the loops whose heartbeat is late; as a processor, it hears of spans that begin in one."""

    def __init__(self) -> None:
        self.begin()
        self._worker = Worker("EventLoopWatchdog", self._look)
        self._hears = False

    def begin(self) -> None:
        """Begin anew, as a forked child does; a loop that goes on in it is watched again from its next beat on."""
        self.heartbeats: dict[int, _Heartbeat] = {}  # by thread
        self._next_look_s = math.inf

    def on_start(self, span: Span, parent_context: OtelContext | None = None) -> None:  # noqa: ARG002 - the SDK's names
        """Have the loop of this thread measured more often."""
        heartbeat = self.heartbeats.get(get_ident())
        if heartbeat is not None and heartbeat.is_slow:
            heartbeat.hurry()

    def watch(self, heartbeat: _Heartbeat) -> None:
        """See to it that the thread looks soon after the beat is due."""
        if not self._hears:
            self._hears = True
            watch_spans(self)
        self.heartbeats[heartbeat.thread_id] = heartbeat
        if heartbeat.due_s + _LATE_S + _BEAT_S < self._next_look_s:
            self._worker.wake()

    def _look(self) -> float | None:
        """Look at the loops whose heartbeat is late; return when to look again."""
        heartbeats, now_s = tuple(self.heartbeats.values()), time.monotonic()
        for heartbeat in heartbeats:
            if now_s - heartbeat.due_s > _LATE_S:
                heartbeat.name_the_call()
        due_s = min((heartbeat.due_s for heartbeat in heartbeats), default=math.inf)
        self._next_look_s = max(due_s + _LATE_S + 0.001, now_s + (_BEAT_S if due_s < now_s else _LOOK_S))
        return self._next_look_s - now_s if heartbeats else None


def start() -> None:
    """Measure every event loop that runs from now on."""
    lag = metrics.get_meter("otel_agent.event_loop").create_histogram(
        "asyncio.event_loop.lag",
        "s",
        "How much later than asked for a timer of the event loop runs.",
        explicit_bucket_boundaries_advisory=_BUCKETS_S,
    )
    watchdog = Watchdog()
    in_children(watchdog.begin)
    TABLE.install()
    follow_loops(lambda loop: _Heartbeat(loop, watchdog, lag).stop)
