"""Memory: how much each endpoint adds to the process, and where the memory of a leak is allocated."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanKind

from otel_agent.enrichments._allocations import AllocationWindows
from otel_agent.enrichments._leak_verdict import LeakVerdict
from otel_agent.enrichments._open_span_table import TABLE
from otel_agent.enrichments._worker import Worker
from otel_agent.forks import in_children
from otel_agent.readings import Reading, callback
from otel_agent.settings import process_settings
from otel_agent.span_watch import watch_spans

_MAX_ENDPOINTS = 200
_UNREADABLE = (OSError, ValueError, ImportError)
_OTHER = "other"
# How long the allocations are traced after the agent's own verdict.
_VERDICT_WINDOW_S = 60.0


def resident_bytes() -> int:
    """Return the resident set size of this process; OSError, ValueError or ImportError where it cannot be read."""
    if not _HAS_STATM:
        import psutil

        return int(psutil.Process().memory_info().rss)
    return _statm.resident_pages() * _PAGE_BYTES


class _Statm:
    """What Linux says about the memory of this process, in a file that stays open: opening it costs most."""

    _FIELDS = 7

    def __init__(self) -> None:
        self._file: int | None = None
        in_children(self._close)

    def resident_pages(self) -> int:
        """Read it; the file is opened anew if the host has closed it, or has a file of its own by this number."""
        try:
            return self._read()
        except (OSError, ValueError):
            self._file = os.open(_STATM, os.O_RDONLY)
            return self._read()

    def _read(self) -> int:
        if self._file is None:
            raise ValueError("it is not open")
        fields = os.pread(self._file, 128, 0).split()
        if len(fields) != self._FIELDS:
            raise ValueError("it is another file")
        return int(fields[1])

    def _close(self) -> None:
        """Close it in a forked child: it is about the parent."""
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None


_STATM = "/proc/self/statm"
_HAS_STATM = os.access(_STATM, os.R_OK)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if _HAS_STATM else 0
_statm = _Statm()


@dataclass
class Bytes:
    """How large the process is, or by how much it has grown; `traced` is 0 outside of windows."""

    resident: int = 0
    traced: int = 0

    def growth_since(self, start: "Bytes", now: "Bytes") -> "Bytes":
        """Return what is left of the growth between `start` and this reading in a later one."""
        is_traced = start.traced and self.traced and now.traced
        return Bytes(
            min(self.resident, now.resident) - start.resident,
            min(self.traced, now.traced) - start.traced if is_traced else 0,
        )


class EndpointGrowth(SpanProcessor):
    """Adds up by endpoint what the process grows while one request alone is in flight.

    What a request adds is what is left of it when the next one begins, and no more than there was when it ended: thus
    neither memory that is freed after the response nor what other threads do between requests is laid to its charge.
    Requests that overlap are not measured. A shrinking counts too, so that the sum is the growth that stays.
    The resident size follows allocations roughly only, because freed memory is used again; the traced one exactly.
    """

    def __init__(self, read: Callable[[], Bytes]) -> None:
        self._read = read
        self.begin()

    def begin(self) -> None:
        """Begin anew, as a forked child does."""
        self._lock = threading.Lock()
        self._in_flight: set[int] = set()
        self._alone: tuple[int, Bytes] | None = None  # span id, reading at its start
        self._ended: tuple[str, Bytes, Bytes] | None = None  # endpoint, readings at its start and end
        self._growth: dict[str, Bytes] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the SDK's name
        """Note how large the process is, if no other request is in flight."""
        kind = span.kind
        if kind is not SpanKind.SERVER and kind is not SpanKind.CONSUMER:
            return
        span_id = span.context.span_id
        with self._lock, suppress(*_UNREADABLE):
            self._in_flight.add(span_id)
            self._alone = None
            if len(self._in_flight) == 1:
                now = self._read()
                self._settle(now)
                self._alone = span_id, now

    def on_end(self, span: ReadableSpan) -> None:
        """Note how large it is now, if no other request was in flight."""
        kind = span.kind
        if (kind is not SpanKind.SERVER and kind is not SpanKind.CONSUMER) or span.context is None:
            return
        with self._lock, suppress(*_UNREADABLE):
            self._in_flight.discard(span.context.span_id)
            if self._alone is not None and self._alone[0] == span.context.span_id:
                self._ended = endpoint_of(span), self._alone[1], self._read()
                self._alone = None

    def _settle(self, now: Bytes) -> None:
        if self._ended is None:
            return
        endpoint, start, end = self._ended
        self._ended = None
        if endpoint not in self._growth and len(self._growth) >= _MAX_ENDPOINTS:
            endpoint = _OTHER
        growth, added = self._growth.setdefault(endpoint, Bytes()), end.growth_since(start, now)
        growth.resident += added.resident
        growth.traced += added.traced

    def _settle_last(self) -> None:
        if not self._in_flight:
            self._settle(self._read())

    def resident_growth(self) -> dict[str, int]:
        """Return by endpoint the growth since the process began."""
        with self._lock:
            self._settle_last()
            return {endpoint: growth.resident for endpoint, growth in self._growth.items()}

    def take_traced_growth(self) -> dict[str, int]:
        """Return by endpoint the traced growth since this was last called."""
        with self._lock:
            self._settle_last()
            taken = {endpoint: growth.traced for endpoint, growth in self._growth.items()}
            for growth in self._growth.values():
                growth.traced = 0
            return taken


def endpoint_of(span: ReadableSpan) -> str:
    """Return the route of the request, or the span's name where there is no route, as in a task."""
    route = span.attributes.get("http.route") if span.attributes else None
    return route if isinstance(route, str) else span.name


def start() -> None:
    """Watch the requests of the global provider, and the process for a leak."""
    window_s, verdict = process_settings().memory_window_s, LeakVerdict()
    growth = EndpointGrowth(lambda: Bytes(resident_bytes(), windows.traced_bytes()))
    windows = AllocationWindows(window_s or _VERDICT_WINDOW_S, window_s is not None, growth.take_traced_growth)
    worker = Worker("Allocations", windows.tick)
    in_children(growth.begin)
    in_children(windows.begin)

    def read() -> Reading:
        if verdict.is_leak(time.monotonic(), resident_bytes()) and worker.is_idle:
            worker.wake()
        return [(value, {"http.route": route}) for route, value in growth.resident_growth().items()]

    name, help_text = "process.memory.growth", "Memory that requests have added, if they were alone in flight."
    meter = metrics.get_meter("otel_agent.memory")
    meter.create_observable_up_down_counter(name, [callback(name, read)], "By", help_text)
    watch_spans(growth)
    if window_s is not None:
        TABLE.install(worker)
