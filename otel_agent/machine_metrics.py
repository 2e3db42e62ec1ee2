"""CPU and memory of the whole machine, read by one process of a tree of processes."""

from collections.abc import Callable

import psutil
from opentelemetry.metrics import Meter

from otel_agent.process_tree import MachineDuty
from otel_agent.readings import Reading, callback, read_together

NAME = "machine_metrics"

_CPU_MODES = ("user", "nice", "system", "idle", "iowait", "steal", "interrupt")
_MEMORY_STATES = ("used", "free", "cached", "buffers")

_virtual_memory = read_together(psutil.virtual_memory)


class _CpuUtilization:
    """The share of its time that the machine spent in each mode since the last reading, all CPUs together."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def __call__(self) -> Reading:
        times = psutil.cpu_times()
        now = {mode: getattr(times, mode) for mode in _CPU_MODES if hasattr(times, mode)}
        interrupts = [getattr(times, name) for name in ("irq", "softirq") if hasattr(times, name)]
        if interrupts:
            now["interrupt"] = sum(interrupts)
        last, self._last = self._last, now
        # Clocks of single modes may step back a little.
        spent = {mode: max(now[mode] - last[mode], 0.0) for mode in now if mode in last}
        elapsed = sum(spent.values())
        return [(value / elapsed, {"cpu.mode": mode}) for mode, value in spent.items()] if elapsed else []


def _memory_usage() -> Reading:
    memory = _virtual_memory()
    return [(getattr(memory, s), {"system.memory.state": s}) for s in _MEMORY_STATES if hasattr(memory, s)]


def _memory_utilization() -> Reading:
    total = _virtual_memory().total
    return [(value / total, attributes) for value, attributes in _memory_usage()]


def observe_machine(meter: Meter) -> None:
    """Create the instruments on `meter`; they stay empty while another process of the tree has the duty."""
    duty = MachineDuty()

    def on_duty(read: Callable[[], Reading]) -> Callable[[], Reading]:
        return lambda: read() if duty.is_ours() else []

    def gauge(name: str, help_text: str, read: Callable[[], Reading]) -> None:
        meter.create_observable_gauge(name, [callback(name, on_duty(read))], "1", help_text)

    def level(name: str, unit: str, help_text: str, read: Callable[[], Reading]) -> None:
        meter.create_observable_up_down_counter(name, [callback(name, on_duty(read))], unit, help_text)

    gauge("system.cpu.utilization", "Share of time since the last reading, all CPUs together.", _CpuUtilization())
    level("system.cpu.logical.count", "{cpu}", "CPUs.", lambda: [(psutil.cpu_count() or 1, {})])
    level("system.memory.usage", "By", "Memory of the machine, by state.", _memory_usage)
    gauge("system.memory.utilization", "Share of the machine's memory, by state.", _memory_utilization)
    level("system.memory.limit", "By", "Memory of the machine.", lambda: [(_virtual_memory().total, {})])
    level(
        "system.linux.memory.available",
        "By",
        "Memory that can be had without swapping.",
        lambda: [(_virtual_memory().available, {})],
    )
