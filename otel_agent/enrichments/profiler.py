"""A sampling profiler, off by default: what the threads were doing, by trace and span."""

import atexit
import random
import sysconfig
import time
from collections import Counter, deque
from functools import lru_cache
from types import FrameType

from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.util.types import AnyValue

from otel_agent.enrichments._current_spans import running_spans
from otel_agent.enrichments._greenlets import follow_greenlets
from otel_agent.enrichments._open_span_table import TABLE
from otel_agent.enrichments._records import send
from otel_agent.enrichments._running_loops import follow_loops
from otel_agent.enrichments._worker import Worker
from otel_agent.guard import guard
from otel_agent.settings import process_settings
from otel_agent.span_watch import watch_spans

NAME = "profiler"

# Neither a divisor nor a multiple of what programs do periodically; the pauses vary by 30 % besides.
_FREQUENCY_HZ = 49
_SEND_AFTER_S = 10
_MAX_PROFILES = 500
_MAX_DEPTH = 64
_MAX_BODY_CHARS = 32_768
_STDLIB = sysconfig.get_path("stdlib").replace("\\", "/") + "/"


class _Durations:
    """The last hundred durations of spans of one name, and their 95th percentile once there are twenty."""

    def __init__(self) -> None:
        self._last_ns: deque[int] = deque(maxlen=100)
        self._seen = 0
        self.p95_ns: int | None = None

    def add(self, duration_ns: int) -> None:
        """Take one down; the percentile is computed anew with every twentieth."""
        self._last_ns.append(duration_ns)
        self._seen += 1
        if self._seen % 20 == 0:
            ordered = sorted(self._last_ns)
            self.p95_ns = ordered[int(0.95 * len(ordered))]


class SlowSpans(SpanProcessor):
    """Knows how long spans of each name usually take."""

    _MAX_NAMES = 500

    def __init__(self) -> None:
        self._durations: dict[str, _Durations] = {}

    def on_end(self, span: ReadableSpan) -> None:
        """Take the span's duration down; names beyond the five hundredth are not slow."""
        durations = self._durations.get(span.name)
        if durations is None:
            if len(self._durations) >= self._MAX_NAMES:
                return
            durations = self._durations.setdefault(span.name, _Durations())
        durations.add((span.end_time or 0) - (span.start_time or 0))

    def is_slow(self, span: Span, now_ns: int) -> bool:
        """Tell whether the span, or one that it is part of, takes longer than 95 % of its name."""
        part: Span | None = span
        while part is not None:
            durations = self._durations.get(part.name)
            limit_ns = durations.p95_ns if durations else None
            if limit_ns is not None and now_ns - (part.start_time or now_ns) > limit_ns:
                return True
            part = TABLE.parent_of(part)
        return False


class _Profile:
    """The samples of one span since they were last sent."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self.root = span
        while (parent := TABLE.parent_of(self.root)) is not None:
            self.root = parent
        self.start_s = time.monotonic()
        self.stacks: Counter[str] = Counter()

    def send(self) -> None:
        """Send what there is as folded stacks, the frequent ones first; what does not fit is counted as "other"."""
        lines, size, count_in_all = [], 0, sum(self.stacks.values())
        left = count_in_all
        for stack, count in self.stacks.most_common():
            line = f"{stack} {count}"
            size += len(line) + 1
            if size > _MAX_BODY_CHARS:
                lines.append(f"other {left}")
                break
            lines.append(line)
            left -= count
        attributes: dict[str, AnyValue] = {
            "span.name": self.span.name,
            "local_root.span_id": f"{self.root.context.span_id:016x}",
            "local_root.name": self.root.name,
            "profile.sample.count": count_in_all,
            "profile.sample.period_ns": int(1e9 / _FREQUENCY_HZ),
        }
        send(NAME, "profile.samples", self.span, attributes, "\n".join(lines))


class _Profiler:
    """Looks at all threads that are in a span, 49 times a second; with `slow`, only at those in a slow one."""

    def __init__(self, slow: SlowSpans | None) -> None:
        self._slow = slow
        self._profiles: dict[int, _Profile] = {}

    def tick(self) -> float | None:
        """Take one sample of each thread; return when to take the next, None while no span is open."""
        now_ns = time.time_ns()
        for span, frame in running_spans():
            if span.context.trace_flags.sampled and (self._slow is None or self._slow.is_slow(span, now_ns)):
                profile = self._profile_of(span)
                if profile is not None:
                    profile.stacks[fold(frame)] += 1
        has_open_spans = bool(TABLE)
        self.send_due()
        return random.uniform(0.7, 1.3) / _FREQUENCY_HZ if has_open_spans or self._profiles else None

    def _profile_of(self, span: Span) -> _Profile | None:
        profile = self._profiles.get(span.context.span_id)
        if profile is None and len(self._profiles) < _MAX_PROFILES:
            profile = self._profiles[span.context.span_id] = _Profile(span)
        return profile

    def send_due(self, is_last: bool = False) -> None:
        """Send the samples of spans that have ended, and every 10 s those of the others; all if it `is_last`."""
        oldest_s = time.monotonic() - _SEND_AFTER_S
        for span_id, profile in tuple(self._profiles.items()):
            if is_last or not profile.span.is_recording() or profile.start_s < oldest_s:
                del self._profiles[span_id]
                profile.send()

    def send_last(self) -> None:
        """Send all samples at the end of the process."""
        with guard("send the last samples"):
            self.send_due(is_last=True)


def fold(frame: FrameType | None) -> str:
    """Write a stack as "file:function:line;…", the outermost of its innermost 64 frames first."""
    names: list[str] = []
    while frame is not None and len(names) < _MAX_DEPTH:
        code = frame.f_code
        names.append(_frame_name(code.co_filename, getattr(code, "co_qualname", code.co_name), frame.f_lineno))
        frame = frame.f_back
    return ";".join(reversed(names))


@lru_cache(maxsize=8192)
def _frame_name(file_name: str, function: str, line: int | None) -> str:
    """Name one frame; what is installed is named from its package on, the host's own file in full."""
    for folder in ("site-packages/", "dist-packages/", _STDLIB):
        _, found, rest = file_name.replace("\\", "/").partition(folder)
        if found:
            file_name = rest
            break
    return f"{file_name}:{function}:{line or 0}".replace(";", ",").replace("\n", " ")


def start() -> None:
    """Sample if SPANWISE_PROFILER says so; the thread starts with the first span."""
    mode = process_settings().profiler
    if mode == "off":
        return
    slow = SlowSpans()
    profiler = _Profiler(slow if mode == "slow" and watch_spans(slow) else None)
    follow_loops()
    follow_greenlets()
    TABLE.install(Worker("Profiler", profiler.tick))
    atexit.register(profiler.send_last)
