"""Metric readers that one thread reads, each at its own pace."""

import math
import time
from dataclasses import dataclass

from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader

from otel_agent.background import BackgroundThread
from otel_agent.guard import guard

_SLOWEST_TICK_S = 60.0


@dataclass
class _Reading:
    reader: PeriodicExportingMetricReader
    interval_s: float
    due_s: float


class MetricReaders:
    """Reads and exports each of its readers every `interval_s` seconds, and once more when it is closed."""

    def __init__(self) -> None:
        self._readings: list[_Reading] = []
        self._thread = BackgroundThread("MetricReaders", self._read_due, lambda: bool(self._readings))

    def add(self, exporter: MetricExporter, interval_s: float) -> PeriodicExportingMetricReader:
        """Return a reader that exports through `exporter`, for the caller to hand to a MeterProvider."""
        reader = PeriodicExportingMetricReader(exporter, math.inf)  # which means: it has no thread of its own
        self._readings.append(_Reading(reader, interval_s, time.monotonic() + interval_s))
        self._thread.wake()
        return reader

    def start(self) -> None:
        """Start reading, if there is anything to read."""
        if self._readings:
            self._thread.start()

    def begin_end(self) -> None:
        """Let the thread read and send everything once more, and end."""
        self._thread.begin_end()

    def join(self, timeout_s: float) -> None:
        """Wait for that, `timeout_s` at most."""
        self._thread.join(timeout_s)

    def _read_due(self, is_last: bool) -> float:
        for reading in self._readings:
            if is_last or time.monotonic() >= reading.due_s:
                reading.due_s = time.monotonic() + reading.interval_s
                with guard("read the metrics"):
                    reading.reader.collect()
        return max(0.0, min((r.due_s for r in self._readings), default=_SLOWEST_TICK_S) - time.monotonic())
