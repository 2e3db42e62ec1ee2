"""The `filter` processor: drops spans, metrics, data points and log records for which a condition holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apm_collector.conditions import Condition, ConditionError, Subject, parse_condition
from apm_collector.config_keys import ConfigKeyError, Keys
from apm_collector.items import changed_batch, data_points, retain, scopes
from apm_collector.pipeline import Consumer, ProcessorSettings
from apm_store.model import Batch, Signal

KEYS = {
    "error_mode": "`ignore`, the one mode: these conditions cannot fail",
    "traces.span": (
        'conditions, any of which drops a span: `==`, `!=`, `IsMatch(…, "pattern")`, `and`, `or`, `not` on `name`, '
        '`kind`, `status.code`, `attributes["key"]`, `resource.attributes["key"]`, `instrumentation_scope.name`'
    ),
    "metrics.metric": "conditions on `name`, `unit`, resource and scope that drop a whole metric",
    "metrics.datapoint": "conditions on `metric.name`, attributes, resource and scope that drop a data point",
    "logs.log_record": "conditions on `body`, `severity_number`, `severity_text`, attributes, resource and scope",
}
SIGNALS = tuple(Signal)


@dataclass(frozen=True, slots=True)
class FilterConfig:
    """Conditions by the kind of item: span, metric, datapoint, log_record."""

    conditions: Mapping[str, Sequence[Condition]]

    def build(self, following: Consumer, component_id: str, settings: ProcessorSettings) -> Consumer:
        """The processor."""
        return FilterProcessor(self, following, component_id, settings)


def read_config(value: Any, path: str) -> FilterConfig:
    """The processor's section; raises ConfigKeyError."""
    keys = Keys(value, path, ("error_mode", "traces", "metrics", "logs"), needed="it")
    keys.choice("error_mode", "ignore", ("ignore",))
    conditions = {}
    for section, kinds in (("traces", ("span",)), ("metrics", ("metric", "datapoint")), ("logs", ("log_record",))):
        of_signal = keys.section(section, kinds)
        for kind in kinds:
            conditions[kind] = [
                _read_condition(text, kind, f"{of_signal.path}.{kind}[{index}]")
                for index, text in enumerate(of_signal.texts(kind))
            ]
    if not any(conditions.values()):
        raise ConfigKeyError(path, "it has no condition")
    return FilterConfig(conditions)


def _read_condition(text: str, kind: str, path: str) -> Condition:
    try:
        return parse_condition(text, kind)
    except ConditionError as error:
        raise ConfigKeyError(path, str(error)) from error


class FilterProcessor:
    """A Consumer that drops items and hands on the rest; it has no state.

    A batch of which nothing is left ends here. An empty metric goes with its last data point.
    """

    def __init__(
        self, config: FilterConfig, following: Consumer, component_id: str, settings: ProcessorSettings
    ) -> None:
        self._conditions = config.conditions
        self._following = following
        self._reason = f"{component_id}: a condition holds"
        self._on_dropped = settings.on_dropped

    def consume(self, batch: Batch) -> None:
        """Drop what a condition holds for, count it, and hand on the rest."""
        removed = self._remove(batch)
        if removed:
            self._on_dropped(batch.signal, self._reason, removed)
            batch = changed_batch(batch, removed=removed)
        if batch.item_count:
            self._following.consume(batch)

    def _remove(self, batch: Batch) -> int:
        """Take items out of a request; gives how many."""
        removed = 0
        for resource, scope, items in scopes(batch.signal, batch.request):
            if batch.signal is Signal.TRACES:
                removed += self._retain("span", items, scope, resource)
            elif batch.signal is Signal.LOGS:
                removed += self._retain("log_record", items, scope, resource)
            else:
                before = sum(len(data_points(metric)) for metric in items)
                self._retain("metric", items, scope, resource)
                points = sum(self._retain("datapoint", data_points(one), scope, resource, one) for one in items)
                if points:
                    retain(items, lambda metric: len(data_points(metric)) > 0)
                removed += before - sum(len(data_points(metric)) for metric in items)
        return removed

    def _retain(self, kind: str, items: Any, scope: Any, resource: Any, metric: Any = None) -> int:
        """Leave those items for which no condition holds; gives how many went."""
        conditions = self._conditions[kind]
        if not conditions:
            return 0

        def is_kept(item: Any) -> bool:
            subject = Subject(item, scope, resource, metric)
            return not any(condition(subject) for condition in conditions)

        return retain(items, is_kept)
