"""Batches are refused while memory is short."""

from __future__ import annotations

import psutil
import pytest
from builders import make_batch, make_span

from apm_collector.errors import TransientError
from apm_collector.processors.memory_limiter import (
    MemoryLimiter,
    MemoryLimiterConfig,
    read_config,
    resident_bytes,
    total_memory,
)

from .conftest import Sink

MIB = 1024 * 1024
BATCH = make_batch([make_span("op")])


def test_above_the_soft_limit_batches_are_refused_until_memory_is_free(sink: Sink) -> None:
    """The refusal is transient; after the next look at a smaller process batches pass again."""
    used, clock = [0], [0.0]
    config = MemoryLimiterConfig(1.0, soft_bytes=80 * MIB, hard_bytes=100 * MIB)
    limiter = MemoryLimiter(config, sink, used_bytes=lambda: used[0], monotonic_s=lambda: clock[0])
    limiter.consume(BATCH)

    used[0], clock[0] = 81 * MIB, 1.0
    with pytest.raises(TransientError, match="80 MiB"):
        limiter.consume(BATCH)
    used[0] = 79 * MIB
    with pytest.raises(TransientError):  # it looks once per interval
        limiter.consume(BATCH)
    clock[0] = 2.0
    limiter.consume(BATCH)

    assert sink.items == 2


def test_the_hard_limit_collects_garbage_first(sink: Sink) -> None:
    """Memory that garbage holds is no reason to refuse."""
    looks = iter([200 * MIB, 10 * MIB])
    config = MemoryLimiterConfig(1.0, soft_bytes=80 * MIB, hard_bytes=100 * MIB)

    MemoryLimiter(config, sink, used_bytes=lambda: next(looks)).consume(BATCH)

    assert sink.items == 1


def test_the_real_process_is_measured() -> None:
    """A process uses more than 1 MiB and less than there is."""
    assert MIB < resident_bytes() < total_memory() <= psutil.virtual_memory().total


def test_limits_are_read_as_upstream_means_them() -> None:
    """The soft limit lies a spike below the hard one, a fifth of it unless said otherwise."""
    given = read_config({"limit_mib": 4000, "spike_limit_mib": 800}, "memory_limiter")
    default = read_config({"limit_mib": 100, "check_interval": "200ms"}, "memory_limiter")
    share = read_config({"limit_percentage": 80, "spike_limit_percentage": 15}, "memory_limiter")

    assert (given.soft_bytes, given.hard_bytes) == (3200 * MIB, 4000 * MIB)
    assert (default.soft_bytes, default.hard_bytes, default.check_interval_s) == (80 * MIB, 100 * MIB, 0.2)
    assert share.soft_bytes / total_memory() == pytest.approx(0.65, abs=0.01)
