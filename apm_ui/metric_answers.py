"""What the JSON API answers of one metric over time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apm_store.query import MetricSeries, MetricStep
from apm_ui.answers import json_value

_TEMPORALITIES = {1: "delta", 2: "cumulative"}


@dataclass(frozen=True, slots=True)
class StepAnswer:
    """The points of one step; for distributions the values are the points' sums, and `value_count` their counts.

    A value that JSON has no number for (NaN, infinite) is null.
    """

    start_ns: int
    point_count: int
    min: float | None
    max: float | None
    sum: float | None
    last: float | None
    value_count: int

    @classmethod
    def of(cls, step: MetricStep) -> StepAnswer:
        """A step of the store."""
        least, greatest, total, last = map(_finite, (step.min, step.max, step.sum, step.last))
        return cls(step.start_ns, step.point_count, least, greatest, total, last, step.value_count)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class SeriesAnswer:
    """One stream of a metric, step by step; steps without points are left out.

    `temporality` is delta, cumulative, or "" where the type has none.
    """

    name: str
    description: str
    unit: str
    type: str
    temporality: str
    is_monotonic: bool
    service: str
    resource: Mapping[str, Any]
    attributes: Mapping[str, Any]
    steps: list[StepAnswer]

    @classmethod
    def of(cls, series: MetricSeries) -> SeriesAnswer:
        """A stream of the store."""
        metric = series.metric
        return cls(
            name=metric.name,
            description=metric.description,
            unit=metric.unit,
            type=metric.type.value,
            temporality=_TEMPORALITIES.get(metric.temporality, ""),
            is_monotonic=metric.is_monotonic,
            service=metric.service,
            resource=json_value(metric.resource.attributes),
            attributes=json_value(series.attributes),
            steps=list(map(StepAnswer.of, series.steps)),
        )
