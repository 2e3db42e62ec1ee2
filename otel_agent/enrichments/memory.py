"""Memory: how much each endpoint adds to the process, and where the memory of a leak is allocated."""

import os
import sys
import time
from _thread import allocate_lock
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

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
from otel_agent.span_watch import SPAN_ID, watch_spans

if sys.platform != "win32":
    from resource import RUSAGE_SELF, getrusage

_SERVER, _CONSUMER = SpanKind.SERVER, SpanKind.CONSUMER
_MAX_ENDPOINTS = 200
_UNREADABLE = (OSError, ValueError, ImportError)
_OTHER = "other"
# Nobody but the requests' own threads adds much between two that follow each other so closely.
_SOON_NS = 5_000_000
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


class _Resident:
    """The resident size, and a figure that it is not above, which is cheaper and never gives up the interpreter's lock.

    A process grows by page faults alone. Where none has happened, the size that was last read is an upper bound.
    """

    def __init__(self) -> None:
        self._bytes, self._faults = 0, -1

    def read(self) -> int:
        """Read it."""
        self._bytes = resident_bytes()
        return self._bytes

    def read_bound(self) -> int:
        """Return the last reading where the process cannot have grown since, else read it."""
        faults = _page_faults()
        if faults == self._faults and faults:
            return self._bytes
        self._faults = faults
        return self.read()


def _page_faults() -> int:
    """Return how many there have been, 0 where that is not known, as in some sandboxes."""
    if sys.platform == "win32" or not _HAS_STATM:
        return 0
    usage = getrusage(RUSAGE_SELF)
    return usage.ru_minflt + usage.ru_majflt


# How large the process is: resident and traced bytes, the latter 0 outside of windows.
_Size = tuple[int, int]


@dataclass
class _Growth:
    """What an endpoint has added, in bytes."""

    resident: int = 0
    traced: int = 0


class EndpointGrowth(SpanProcessor):
    """Adds up by endpoint what the process grows while one request alone is in flight.

    What a request adds is what is left of it when the next one begins, and no more than there was when it ended: thus
    neither memory that is freed after the response nor what other threads do between requests is laid to its charge.
    Requests that overlap are not measured. A shrinking counts too, so that the sum is the growth that stays.
    The resident size follows allocations roughly only, because freed memory is used again; the traced one exactly.

    It is read as seldom as that allows. Where no page has come during a request, its end counts as large as its
    beginning; and where it has added nothing and the next one begins within milliseconds, that begins where this one
    ended. What is freed in such a request or pause is estimated: it is laid to the next request that is read.
    """

    kinds = frozenset({_SERVER, _CONSUMER})

    def __init__(self) -> None:
        self.traced_bytes: Callable[[], int] = int  # 0 as long as nothing is traced
        self.begin()

    def begin(self) -> None:
        """Begin anew, as a forked child does."""
        self._lock = allocate_lock()
        self._resident = _Resident()
        self._in_flight: set[int] = set()
        self._alone: tuple[int, _Size] | None = None  # span id, size at its start
        self._ended: tuple[str, _Size, _Size, int] | None = None  # endpoint, sizes at start and end, end in ns
        self._growth: dict[str, _Growth] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the SDK's name
        """Note how large the process is, if no other request is in flight."""
        kind = span._kind
        if kind is not _SERVER and kind is not _CONSUMER:
            return
        context: Any = span._context
        with self._lock:
            self._alone = None
            self._in_flight.add(context[SPAN_ID])
            if len(self._in_flight) == 1:
                try:
                    self._alone = context[SPAN_ID], self._settle(span._start_time or 0)
                except _UNREADABLE:
                    return

    def on_end(self, span: ReadableSpan) -> None:
        """Note how large it is now, if no other request was in flight."""
        kind = span._kind
        if kind is not _SERVER and kind is not _CONSUMER:
            return
        context: Any = span._context
        with self._lock:
            self._in_flight.discard(context[SPAN_ID])
            alone = self._alone
            if alone is not None and alone[0] == context[SPAN_ID]:
                self._alone = None
                try:
                    end = self._resident.read_bound(), self.traced_bytes()
                except _UNREADABLE:
                    return
                self._ended = endpoint_of(span), alone[1], end, span._end_time or 0

    def _settle(self, now_ns: int) -> _Size:
        """Lay what is left of the last request to its charge; return how large the process is."""
        ended, self._ended = self._ended, None
        if ended is None:
            return self._read()
        endpoint, (start, start_traced), (end, end_traced), end_ns = ended
        has_added = end > start or start_traced or end_traced
        now = (end, 0) if not has_added and 0 <= now_ns - end_ns < _SOON_NS else self._read()
        if endpoint not in self._growth and len(self._growth) >= _MAX_ENDPOINTS:
            endpoint = _OTHER
        growth = self._growth.get(endpoint) or self._growth.setdefault(endpoint, _Growth())
        growth.resident += min(end, now[0]) - start
        if start_traced and end_traced and now[1]:
            growth.traced += min(end_traced, now[1]) - start_traced
        return now

    def _read(self) -> _Size:
        return self._resident.read(), self.traced_bytes()

    def _settle_last(self) -> None:
        if self._ended is not None and not self._in_flight:
            with suppress(*_UNREADABLE):
                self._settle(0)  # no request begins: what is left must be read

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
    attributes: Any = span._attributes
    values = getattr(attributes, "_dict", attributes)
    route = values.get("http.route") if values else None
    return route if isinstance(route, str) else span.name


def start() -> None:
    """Watch the requests of the global provider, and the process for a leak."""
    window_s, verdict = process_settings().memory_window_s, LeakVerdict()
    growth = EndpointGrowth()
    windows = AllocationWindows(window_s or _VERDICT_WINDOW_S, window_s is not None, growth.take_traced_growth)
    growth.traced_bytes = windows.traced_bytes
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
