"""The `memory_limiter` processor: refuses batches while the process uses more memory than it may."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil

from apm_collector.config_keys import ConfigKeyError, Keys
from apm_collector.errors import TransientError
from apm_collector.pipeline import Consumer, ProcessorSettings
from apm_store.model import Batch, Signal

KEYS = {
    "check_interval": "time between two looks at the memory in use",
    "limit_mib": "hard limit of the process in MiB; one of the two limits is needed",
    "spike_limit_mib": "batches are refused from this much below `limit_mib`; a fifth of it unless given",
    "limit_percentage": "hard limit in percent of the machine's or container's memory",
    "spike_limit_percentage": "batches are refused from this much below `limit_percentage`; a fifth of it unless given",
}
SIGNALS = tuple(Signal)
_MIB = 1024 * 1024
_UNLIMITED = "max"


@dataclass(frozen=True, slots=True)
class MemoryLimiterConfig:
    """Above `soft_bytes` batches are refused, above `hard_bytes` garbage is collected as well."""

    check_interval_s: float
    soft_bytes: int
    hard_bytes: int

    def build(self, following: Consumer, _component_id: str, _settings: ProcessorSettings) -> Consumer:
        """The processor."""
        return MemoryLimiter(self, following)


def read_config(value: Any, path: str) -> MemoryLimiterConfig:
    """The processor's section; raises ConfigKeyError."""
    keys = Keys(value, path, KEYS, needed="it")
    if ("limit_mib" in keys) == ("limit_percentage" in keys):
        raise ConfigKeyError(path, "one of limit_mib and limit_percentage is needed")
    if "limit_mib" in keys:
        unit, limit_key, largest = _MIB, "limit_mib", 1024 * 1024
    else:
        unit, limit_key, largest = total_memory() // 100, "limit_percentage", 100
    spike_key = f"spike_{limit_key}"
    limit = keys.integer(limit_key, 0, 1, largest)
    other = "spike_limit_percentage" if limit_key == "limit_mib" else "spike_limit_mib"
    if other in keys:
        raise ConfigKeyError(f"{path}.{other}", f"{spike_key} is the one that goes with {limit_key}")
    spike = keys.integer(spike_key, 0, 0, limit - 1) if spike_key in keys else limit / 5
    return MemoryLimiterConfig(
        check_interval_s=keys.duration_s("check_interval", "1s", low="10ms", high="1m"),
        soft_bytes=int((limit - spike) * unit),
        hard_bytes=limit * unit,
    )


def total_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or less in a container."""
    total: int = psutil.virtual_memory().total
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:  # noqa: PTH123  # no Path for a kernel file
            text = file.read().strip()
    except OSError:
        return total
    return total if text == _UNLIMITED else min(total, int(text))


def resident_bytes() -> int:
    """Bytes of memory that this process uses."""
    rss: int = psutil.Process().memory_info().rss
    return rss


class MemoryLimiter:
    """A Consumer that hands on what it gets, but refuses it while memory is short; its state is the last look."""

    def __init__(
        self,
        config: MemoryLimiterConfig,
        following: Consumer,
        *,
        used_bytes: Callable[[], int] = resident_bytes,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._following = following
        self._used_bytes = used_bytes
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._next_check_s = 0.0
        self._is_short = False

    def consume(self, batch: Batch) -> None:
        """Hand on a batch; raises TransientError while memory is short."""
        if self._is_memory_short():
            raise TransientError(f"The collector uses more than its limit of {self._config.soft_bytes // _MIB} MiB")
        self._following.consume(batch)

    def _is_memory_short(self) -> bool:
        with self._lock:
            now_s = self._monotonic_s()
            if now_s >= self._next_check_s:
                used = self._used_bytes()
                if used > self._config.hard_bytes:
                    gc.collect()
                    used = self._used_bytes()
                self._is_short = used > self._config.soft_bytes
                self._next_check_s = now_s + self._config.check_interval_s
            return self._is_short
