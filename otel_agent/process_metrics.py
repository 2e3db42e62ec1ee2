"""Memory, CPU, threads, files, disk and garbage collection of this process, as observable instruments."""

import gc
import os
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

import psutil
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from otel_agent.guard import guard

# One reading: (value, attributes) pairs of one instrument.
_Reading = Iterable[tuple[float, Mapping[str, str | int]]]


@lru_cache(maxsize=1)
def _process_of(pid: int) -> psutil.Process:
    return psutil.Process(pid)


def _process() -> psutil.Process:
    """Return this process; a forked child gets its own."""
    return _process_of(os.getpid())


class _CpuUtilization:
    """CPU time since the last reading, divided by elapsed time and the number of CPUs, as the conventions define it."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[float, float, float]] = {}

    def __call__(self) -> _Reading:
        times, now_s = _process().cpu_times(), time.monotonic()
        last = self._last.get(os.getpid())
        self._last = {os.getpid(): (now_s, times.user, times.system)}
        if last is None or now_s <= last[0]:
            return []
        available_s = (now_s - last[0]) * (os.cpu_count() or 1)
        return [
            ((times.user - last[1]) / available_s, {"cpu.mode": "user"}),
            ((times.system - last[2]) / available_s, {"cpu.mode": "system"}),
        ]


def _cpu_time() -> _Reading:
    times = _process().cpu_times()
    return [(times.user, {"cpu.mode": "user"}), (times.system, {"cpu.mode": "system"})]


def _disk_io() -> _Reading:
    counters = _process().io_counters()
    return [
        (counters.read_bytes, {"disk.io.direction": "read"}),
        (counters.write_bytes, {"disk.io.direction": "write"}),
    ]


def _context_switches() -> _Reading:
    switches = _process().num_ctx_switches()
    return [
        (switches.voluntary, {"process.context_switch.type": "voluntary"}),
        (switches.involuntary, {"process.context_switch.type": "involuntary"}),
    ]


def _garbage(key: str) -> Callable[[], _Reading]:
    def read() -> _Reading:
        return [(stats[key], {"cpython.gc.generation": i}) for i, stats in enumerate(gc.get_stats())]

    return read


def _callback(name: str, read: Callable[[], _Reading]) -> Callable[[CallbackOptions], list[Observation]]:
    def callback(_options: CallbackOptions) -> list[Observation]:
        with guard(f"read {name}"):
            return [Observation(value, attributes) for value, attributes in read()]
        return []

    return callback


def observe_process(meter: Meter) -> None:
    """Create the instruments on `meter`; what this platform cannot tell is left out."""

    def counter(name: str, unit: str, help_text: str, read: Callable[[], _Reading]) -> None:
        meter.create_observable_counter(name, [_callback(name, read)], unit, help_text)

    def level(name: str, unit: str, help_text: str, read: Callable[[], float]) -> None:
        meter.create_observable_up_down_counter(name, [_callback(name, lambda: [(read(), {})])], unit, help_text)

    name = "process.cpu.utilization"
    help_text = "CPU time since the last reading, divided by elapsed time and the number of CPUs."
    meter.create_observable_gauge(name, [_callback(name, _CpuUtilization())], "1", help_text)
    counter("process.cpu.time", "s", "CPU seconds used.", _cpu_time)
    level("process.memory.usage", "By", "Physical memory in use (RSS).", lambda: _process().memory_info().rss)
    level("process.memory.virtual", "By", "Committed virtual memory.", lambda: _process().memory_info().vms)
    level("process.thread.count", "{thread}", "Threads of the process.", lambda: _process().num_threads())
    counter("process.context_switches", "{context_switch}", "Context switches.", _context_switches)
    if hasattr(psutil.Process, "num_fds"):
        level("process.open_file_descriptor.count", "{file_descriptor}", "Open files.", lambda: _process().num_fds())
    if hasattr(psutil.Process, "io_counters"):
        counter("process.disk.io", "By", "Bytes read from and written to disk.", _disk_io)
    counter("cpython.gc.collections", "{collection}", "Garbage collections run.", _garbage("collections"))
    counter("cpython.gc.collected_objects", "{object}", "Objects freed by them.", _garbage("collected"))
    counter("cpython.gc.uncollectable_objects", "{object}", "Objects they could not free.", _garbage("uncollectable"))
