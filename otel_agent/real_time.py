"""Telemetry keeps real time in a host that has replaced or frozen its clock, as tests do."""

from functools import partial
from time import time_ns

from opentelemetry.sdk import trace
from opentelemetry.sdk._logs import _internal as logs
from opentelemetry.sdk.metrics import _internal as metrics
from opentelemetry.sdk.metrics._internal import (
    _view_instrument_match,
    export,
    instrument,
    measurement_consumer,
    metric_reader_storage,
)


def install() -> None:
    """Give the SDK a clock of its own: libraries that freeze time replace what *is* `time.time_ns` in every module."""
    for module in (
        trace,
        logs,
        metrics,
        _view_instrument_match,
        export,
        instrument,
        measurement_consumer,
        metric_reader_storage,
    ):
        module.time_ns = partial(time_ns)  # type: ignore[attr-defined]
