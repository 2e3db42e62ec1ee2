"""The exporters and pipelines of the configuration in use, and how those of another one take their place."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apm_collector.config import (
    CollectorConfig,
    DebugExporterConfig,
    ExporterConfig,
    OtlpExporterConfig,
    PipelineConfig,
    StoreExporterConfig,
)
from apm_collector.counts import Counts
from apm_collector.errors import StartError
from apm_collector.exporters.delivery_counts import DeliveryCounts
from apm_collector.exporters.store import StoreExporter
from apm_collector.exporters.tee import Accepting, Tee
from apm_collector.pipeline import Consumer, Pipeline, ProcessorSettings, build_pipeline
from apm_collector.switch import Switch
from apm_store.api import Store
from apm_store.model import Signal

_DRAIN_S = 10.0
_RANKS = (StoreExporterConfig, OtlpExporterConfig, DebugExporterConfig)  # whose answer is worth most to a sender
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """Everything that one configuration needs, built and started; `switches` is what receivers are given."""

    config: CollectorConfig
    exporters: Mapping[str, Any]
    pipelines: Mapping[Signal, Pipeline]
    switches: Mapping[Signal, Switch]


class Switchboard:
    """Keeps the plan in use. An `otlp` exporter stays the same as long as its id is configured, and so its queue."""

    def __init__(self, store: Store, counts: Counts, data_dir: Path | None) -> None:
        self.deliveries = DeliveryCounts()
        self._store = StoreExporter(store, counts)
        self._counts = counts
        self._data_dir = data_dir
        self._plan = Plan(CollectorConfig({}, {}, {}, {}), {}, {}, {})

    def exporters(self) -> dict[str, dict[str, Any]]:
        """What waits in each `otlp` exporter and what became of the rest, by component id."""
        counts = self.deliveries.snapshot()
        states = {name: one.state() for name, one in self._plan.exporters.items() if hasattr(one, "state")}
        return {name: {"counts": counts.get(name, {}), **states.get(name, {})} for name in sorted(counts | states)}

    def prepare(self, config: CollectorConfig) -> Plan:
        """Build and start what a configuration needs beside what is in use, and change nothing else.

        Raises StartError when that is not possible; then nothing new is left.
        """
        used = {name for pipeline in config.pipelines.values() for name in pipeline.exporters}
        exporters: dict[str, Any] = {}
        pipelines: dict[Signal, Pipeline] = {}
        plan = Plan(config, exporters, pipelines, {})
        try:
            for name in sorted(used):
                exporters[name] = self._exporter(name, config.exporters[name])
            for signal, pipeline in config.pipelines.items():
                pipelines[signal] = self._pipeline(pipeline, config, exporters)
                pipelines[signal].start()
        except StartError:
            self.discard(plan)
            raise
        switches = {
            signal: self._plan.switches.get(signal) or Switch(pipeline) for signal, pipeline in pipelines.items()
        }
        return Plan(config, exporters, pipelines, switches)

    def discard(self, plan: Plan) -> None:
        """Stop what was prepared and is not in use."""
        for pipeline in plan.pipelines.values():
            pipeline.stop()
        self._stop_exporters(plan, besides=self._plan)

    def commit(self, plan: Plan) -> None:
        """Send every batch from now on through a plan; stop what it replaces once that has nothing in it.

        The receivers MUST already feed the switches of the plan, and those alone.
        """
        former, self._plan = self._plan, plan
        for name, config in plan.config.exporters.items():
            if isinstance(config, OtlpExporterConfig) and name in plan.exporters:
                plan.exporters[name].configure(config, is_only_copy=_is_only_copy(name, plan.config))
        for signal, pipeline in former.pipelines.items():
            successor = plan.pipelines.get(signal, pipeline)
            if not former.switches[signal].turn(successor, _DRAIN_S):
                _log.warning("%s: a batch was under way for more than %d s of a change", signal.value, _DRAIN_S)
            pipeline.stop()
        self._stop_exporters(former, besides=plan)

    def close(self) -> None:
        """Drain the pipelines, then stop the exporters. Idempotent."""
        for pipeline in self._plan.pipelines.values():
            pipeline.stop()
        self._stop_exporters(self._plan, besides=None)

    def _stop_exporters(self, plan: Plan, *, besides: Plan | None) -> None:
        kept = list(besides.exporters.values()) if besides else []
        for exporter in plan.exporters.values():
            if hasattr(exporter, "stop") and exporter not in kept:
                exporter.stop()

    def _exporter(self, component_id: str, config: ExporterConfig) -> Any:
        """The exporter of a configuration: the one in use where that goes on; its library is loaded only here."""
        if isinstance(config, StoreExporterConfig):
            return self._store
        if isinstance(config, DebugExporterConfig):
            from apm_collector.exporters.debug import DebugExporter

            return DebugExporter(config)
        from apm_collector.exporters.otlp import OtlpExporter

        in_use = self._plan.exporters.get(component_id)
        if isinstance(in_use, OtlpExporter):
            return in_use
        if self._data_dir is None:
            raise StartError(f"{component_id} needs a data directory for its queue")
        return OtlpExporter(component_id, config, self._data_dir / "queue", self.deliveries)

    def _pipeline(
        self, pipeline: PipelineConfig, config: CollectorConfig, exporters: Mapping[str, Consumer]
    ) -> Pipeline:
        first, *others = _by_rank(pipeline, config)
        consumer = exporters[first]
        if consumer is not self._store:
            consumer = Accepting(consumer, self._counts)
        if others:
            consumer = Tee(consumer, {name: exporters[name] for name in others}, self.deliveries)
        spool_dir = (self._data_dir or Path()) / "spool"
        settings = ProcessorSettings(self._counts.on_dropped, spool_dir, self._counts.on_resumed)
        return build_pipeline(pipeline.processors, config.processors, consumer, settings)


def _by_rank(pipeline: PipelineConfig, config: CollectorConfig) -> list[str]:
    """The exporters of a pipeline, the one first that answers for it."""
    return sorted(pipeline.exporters, key=lambda name: _RANKS.index(type(config.exporters[name])))


def _is_only_copy(component_id: str, config: CollectorConfig) -> bool:
    """Whether some pipeline has no exporter that keeps its batches but this one."""
    return any(_by_rank(pipeline, config)[0] == component_id for pipeline in config.pipelines.values())
