"""Memory, CPU, threads, files and disk of this process; with it start the other metrics of the same pace."""

import os
import time
from collections.abc import Callable
from functools import lru_cache

import psutil
from opentelemetry.metrics import Meter

from otel_agent import gc_metrics, machine_metrics
from otel_agent.guard import guard
from otel_agent.readings import Reading, callback, read_together

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

NAME = "process_metrics"

# The kernel walks all pages of the process to find those that are its own: 7 ms per GB.
_UNIQUE_MEMORY_INTERVAL_S = 30.0
_UNIQUE_MEMORY_MAX_SHARE = 0.001


@lru_cache(maxsize=1)
def _process_of(pid: int) -> psutil.Process:
    return psutil.Process(pid)


def _process() -> psutil.Process:
    """Return this process; a forked child gets its own."""
    return _process_of(os.getpid())


_cpu_times = read_together(os.times)
_memory = read_together(lambda: _process().memory_info())


class _CpuUtilization:
    """CPU time since the last reading, divided by elapsed time and the number of CPUs, as the conventions define it."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[float, float, float]] = {}

    def __call__(self) -> Reading:
        times, now_s = _cpu_times(), time.monotonic()
        last = self._last.get(os.getpid())
        self._last = {os.getpid(): (now_s, times.user, times.system)}
        if last is None or now_s <= last[0]:
            return []
        available_s = (now_s - last[0]) * (os.cpu_count() or 1)
        return [
            ((times.user - last[1]) / available_s, {"cpu.mode": "user"}),
            ((times.system - last[2]) / available_s, {"cpu.mode": "system"}),
        ]


class _UniqueMemory:
    """The memory that no other process shares (USS), read every 30 s, or less often where reading it takes long."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        self._next_s = 0.0

    def __call__(self) -> Reading:
        pid, start_s = os.getpid(), time.monotonic()
        if start_s >= self._next_s or pid not in self._last:
            uss = getattr(_process().memory_full_info(), "uss", None)
            self._last = {} if uss is None else {pid: uss}
            took_s = time.monotonic() - start_s
            self._next_s = start_s + max(_UNIQUE_MEMORY_INTERVAL_S, took_s / _UNIQUE_MEMORY_MAX_SHARE)
        return [(uss, {}) for uss in self._last.values()]


def _cpu_time() -> Reading:
    times = _cpu_times()
    return [(times.user, {"cpu.mode": "user"}), (times.system, {"cpu.mode": "system"})]


def _disk_io() -> Reading:
    counters = _process().io_counters()
    return [
        (counters.read_bytes, {"disk.io.direction": "read"}),
        (counters.write_bytes, {"disk.io.direction": "write"}),
    ]


def _context_switches() -> Reading:
    """Return those of all threads; what psutil reads on Linux are those of the main thread alone."""
    if resource is None:
        voluntary, involuntary = _process().num_ctx_switches()
    else:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        voluntary, involuntary = usage.ru_nvcsw, usage.ru_nivcsw
    return [
        (voluntary, {"process.context_switch.type": "voluntary"}),
        (involuntary, {"process.context_switch.type": "involuntary"}),
    ]


def observe_process(meter: Meter, disabled: frozenset[str] = frozenset()) -> None:
    """Create the instruments on `meter`, but for the groups named in `disabled`."""
    groups = {
        NAME: _observe_process,
        gc_metrics.NAME: gc_metrics.observe_gc,
        machine_metrics.NAME: machine_metrics.observe_machine,
    }
    for name, observe in groups.items():
        if name not in disabled:
            with guard(f"start {name}"):
                observe(meter)


def _observe_process(meter: Meter) -> None:
    """Create the instruments of the process; what this platform cannot tell is left out."""

    def counter(name: str, unit: str, help_text: str, read: Callable[[], Reading]) -> None:
        meter.create_observable_counter(name, [callback(name, read)], unit, help_text)

    def level(name: str, unit: str, help_text: str, read: Callable[[], float]) -> None:
        meter.create_observable_up_down_counter(name, [callback(name, lambda: [(read(), {})])], unit, help_text)

    name = "process.cpu.utilization"
    help_text = "CPU time since the last reading, divided by elapsed time and the number of CPUs."
    meter.create_observable_gauge(name, [callback(name, _CpuUtilization())], "1", help_text)
    counter("process.cpu.time", "s", "CPU seconds used.", _cpu_time)
    level("process.memory.usage", "By", "Physical memory in use (RSS).", lambda: _memory().rss)
    level("process.memory.virtual", "By", "Committed virtual memory.", lambda: _memory().vms)
    name = "process.memory.unique"
    help_text = "Physical memory that no other process shares (USS), read every 30 s."
    meter.create_observable_up_down_counter(name, [callback(name, _UniqueMemory())], "By", help_text)
    level("process.thread.count", "{thread}", "Threads of the process.", lambda: _process().num_threads())
    counter("process.context_switches", "{context_switch}", "Context switches.", _context_switches)
    if hasattr(psutil.Process, "num_fds"):
        level("process.unix.file_descriptor.count", "{file_descriptor}", "Open files.", lambda: _process().num_fds())
    if hasattr(psutil.Process, "io_counters"):
        counter("process.disk.io", "By", "Bytes read from and written to disk.", _disk_io)
