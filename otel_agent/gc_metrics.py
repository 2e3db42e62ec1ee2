"""The garbage collector: how often it runs, what it frees, and how long it stops the process, by generation."""

import gc
import time
from collections import deque
from collections.abc import Callable

from opentelemetry.metrics import Meter

from otel_agent.forks import in_children
from otel_agent.readings import Reading, callback

NAME = "gc_metrics"

# Seconds: a young generation takes tens of microseconds, a full collection of a large process a second.
_BUCKETS_S = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1)
# Pauses between two readings that are kept; beyond that the oldest are lost.
_MAX_PENDING = 10_000


class GcPauses:
    """Notes each pause until the metrics are read.

    A collection starts wherever the host or the SDK allocates, inside their locks too: noting must neither wait for a
    lock nor raise.
    """

    def __init__(self) -> None:
        self._pending: deque[tuple[int, float]] = deque(maxlen=_MAX_PENDING)
        self._start_s: float | None = None

    def note(self, phase: str, info: dict[str, int]) -> None:
        """Take the collector's call at the start and at the stop of a collection, as `gc.callbacks` says."""
        now_s = time.perf_counter()
        if phase == "start":
            self._start_s = now_s
        elif self._start_s is not None:
            self._pending.append((info["generation"], now_s - self._start_s))
            self._start_s = None

    def take(self) -> list[tuple[int, float]]:
        """Return (generation, seconds) of every pause since the last call."""
        return [self._pending.popleft() for _ in range(len(self._pending))]


def observe_gc(meter: Meter) -> None:
    """Create the instruments on `meter`."""
    pauses = GcPauses()
    pause = meter.create_histogram(
        "cpython.gc.pause",
        "s",
        "Time for which a garbage collection stopped the process.",
        explicit_bucket_boundaries_advisory=_BUCKETS_S,
    )

    def collections() -> Reading:
        # Observable instruments are read before histograms: what is recorded here goes out with this very reading.
        for generation, pause_s in pauses.take():
            pause.record(pause_s, {"cpython.gc.generation": generation})
        return _statistic("collections")()

    for name, unit, help_text, read in (
        ("cpython.gc.collections", "{collection}", "Garbage collections run.", collections),
        ("cpython.gc.collected_objects", "{object}", "Objects freed by them.", _statistic("collected")),
        ("cpython.gc.uncollectable_objects", "{object}", "Objects they could not free.", _statistic("uncollectable")),
    ):
        meter.create_observable_counter(name, [callback(name, read)], unit, help_text)
    gc.callbacks.append(pauses.note)
    in_children(pauses.take)  # what the parent has noted is the parent's


def _statistic(key: str) -> Callable[[], Reading]:
    def read() -> Reading:
        return [(stats[key], {"cpython.gc.generation": i}) for i, stats in enumerate(gc.get_stats())]

    return read
