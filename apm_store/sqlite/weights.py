"""How many spans a sampled span stands for, as its trace state says."""

from __future__ import annotations

import re

_THRESHOLD = re.compile(r"(?:\A|,)\s*ot=(?:[^,]*;)?th:([0-9a-f]{1,14})(?=[;,\s]|\Z)")
_ALL = 1 << 56
_MAX_WEIGHT = 1_000_000  # a threshold beyond one in a million is a mistake, and would drown every other number


def weight_of(trace_state: str, span_id: bytes) -> int:
    """The number of spans that one with this `tracestate` stands for: 1 when it was not sampled.

    A threshold T in 56 bits rejects the share T / 2^56, so a kept span stands for 2^56 / (2^56 - T) (OpenTelemetry,
    "TraceState: Probability Sampling"). Of a fraction, as many span ids as it says are rounded up, so that sums are
    right.
    """
    match = _THRESHOLD.search(trace_state)
    if match is None:
        return 1
    kept = _ALL - int(match[1].ljust(14, "0"), 16)
    whole, rest = divmod(_ALL, kept)
    is_up = int.from_bytes(span_id, "big") * kept < rest << 64
    return min(whole + is_up, _MAX_WEIGHT)
