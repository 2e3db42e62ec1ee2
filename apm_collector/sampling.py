"""Sampling decisions that keep counts right: every policy gives a rejection threshold, as OpenTelemetry defines it.

A trace is kept when its randomness, 56 bits of its id, is not below the threshold, so each kept span stands for
2**56 / (2**56 - threshold) spans. https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

NEVER = 1 << 56
_THRESHOLD = re.compile(r"th:([0-9a-f]{1,14})(?:;|\Z)")
_RANDOMNESS = re.compile(r"rv:([0-9a-f]{14})(?:;|\Z)")


@dataclass(slots=True)
class Trace:
    """What policies know of a trace: `statuses` are the status codes of its spans."""

    randomness: int
    spans: int = 0
    start_ns: int = NEVER << 8
    end_ns: int = 0
    statuses: set[int] = field(default_factory=set)

    def add(self, span: Any) -> None:
        """Take a span in."""
        self.spans += 1
        self.start_ns = min(self.start_ns, span.start_time_unix_nano)
        self.end_ns = max(self.end_ns, span.end_time_unix_nano)
        self.statuses.add(span.status.code)


Policy = Callable[[Sequence[Trace], float], list[int]]
"""Gives the threshold of each trace, NEVER for those it does not want; the number is seconds since the last round."""


def always(traces: Sequence[Trace], _elapsed_s: float) -> list[int]:
    """Every trace is wanted."""
    return [0] * len(traces)


def has_status(codes: frozenset[int]) -> Policy:
    """Traces with a span of one of the status codes are wanted."""
    return lambda traces, _elapsed_s: [0 if trace.statuses & codes else NEVER for trace in traces]


def lasts(threshold_ms: int, upper_threshold_ms: int) -> Policy:
    """Traces are wanted that last at least so long, and not longer than the upper bound; 0 is no upper bound."""
    low_ns, high_ns = threshold_ms * 1_000_000, upper_threshold_ms * 1_000_000

    def is_wanted(trace: Trace) -> bool:
        duration_ns = trace.end_ns - trace.start_ns
        return low_ns < duration_ns <= high_ns if high_ns else duration_ns >= low_ns

    return lambda traces, _elapsed_s: [0 if is_wanted(trace) else NEVER for trace in traces]


def share(percentage: float) -> Policy:
    """A share of all traces is wanted."""
    threshold = round((1 - percentage / 100) * NEVER)
    return lambda traces, _elapsed_s: [threshold] * len(traces)


class RateLimit:
    """So many spans per second are wanted: those of the traces with the highest randomness of each round.

    All traces of a round get one threshold, the randomness above which all were taken (bottom-k sampling), so their
    counts stay right. A trace that is larger than what is left is taken whole, and later rounds make up for it.
    """

    def __init__(self, spans_per_second: int) -> None:
        self._rate = spans_per_second
        self._left = 0.0

    def __call__(self, traces: Sequence[Trace], elapsed_s: float) -> list[int]:
        """The thresholds of a round."""
        self._left = min(self._left + self._rate * elapsed_s, self._rate)
        threshold = 0
        for trace in sorted(traces, key=lambda one: one.randomness, reverse=True):
            if self._left <= 0:
                threshold = trace.randomness + 1
                break
            self._left -= trace.spans
        return [threshold] * len(traces)


def both(policies: Sequence[Policy]) -> Policy:
    """Traces are wanted that all of the policies want; a policy is asked about those that the ones before it keep."""

    def ask(traces: Sequence[Trace], elapsed_s: float) -> list[int]:
        thresholds = [0] * len(traces)
        for policy in policies:
            asked = [index for index, trace in enumerate(traces) if trace.randomness >= thresholds[index]]
            for index, threshold in zip(asked, policy([traces[i] for i in asked], elapsed_s), strict=True):
                thresholds[index] = max(thresholds[index], threshold)
        return thresholds

    return ask


def either(policies: Sequence[Policy]) -> Policy:
    """Traces are wanted that any of the policies wants, with the lowest of their thresholds."""
    return lambda traces, elapsed_s: [
        min(thresholds) for thresholds in zip(*(policy(traces, elapsed_s) for policy in policies), strict=True)
    ]


def randomness_of(span: Any) -> int:
    """The 56 random bits that a trace's spans share: `rv` of the tracestate, or else the end of the trace id."""
    match = _RANDOMNESS.search(_ot_value(span.trace_state))
    return int(match[1], 16) if match else int.from_bytes(span.trace_id[-7:], "big")


def raise_threshold(trace_state: str, threshold: int) -> str:
    """A tracestate whose `ot=th:` says at least this threshold, which must be below NEVER."""
    ot_value = _ot_value(trace_state)
    match = _THRESHOLD.search(ot_value)
    if threshold == 0 or (match and int(match[1].ljust(14, "0"), 16) >= threshold):
        return trace_state
    digits = f"{threshold:014x}".rstrip("0")
    others = [part for part in ot_value.split(";") if part and not part.startswith("th:")]
    members = [one for one in trace_state.split(",") if one.strip() and not one.strip().startswith("ot=")]
    return ",".join(["ot=" + ";".join([f"th:{digits}", *others]), *members])


def _ot_value(trace_state: str) -> str:
    """The value of the tracestate's `ot` member; "" when there is none."""
    if "ot=" not in trace_state:
        return ""
    return next((one.strip()[3:] for one in trace_state.split(",") if one.strip().startswith("ot=")), "")
