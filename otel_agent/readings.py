"""What an observable instrument asks for: a function that reads values, made safe for the SDK to call."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from opentelemetry.metrics import CallbackOptions, Observation

from otel_agent.guard import guard

# Instruments that are read together are read within this time.
_TOGETHER_S = 0.5

Value = TypeVar("Value")

# One reading: (value, attributes) pairs of one instrument.
Reading = Iterable[tuple[float, Mapping[str, str | int]]]


def callback(name: str, read: Callable[[], Reading]) -> Callable[[CallbackOptions], list[Observation]]:
    """Turn a reading into the callback of the instrument `name`; it observes nothing when the reading fails."""

    def observe(_options: CallbackOptions) -> list[Observation]:
        with guard(f"read {name}"):
            return [Observation(value, attributes) for value, attributes in read()]
        return []

    return observe


def read_together(read: Callable[[], Value]) -> Callable[[], Value]:
    """Return a function that reads for the first of several instruments and tells the others the same."""
    last: tuple[int, float, Value] | None = None

    def value() -> Value:
        nonlocal last
        pid, now_s = os.getpid(), time.monotonic()
        if last is None or last[0] != pid or now_s - last[1] > _TOGETHER_S:
            last = pid, now_s, read()
        return last[2]

    return value
