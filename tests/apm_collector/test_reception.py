"""Receivers that give way to others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from apm_collector.config import CollectorConfig, Endpoint, ProtocolConfig
from apm_collector.reception import Wanted, wanted_receivers
from apm_collector.switch import Switch
from apm_store.model import Signal

CONFIG = ProtocolConfig(Endpoint("127.0.0.1", 4318), 1000)


class _Nowhere:
    def consume(self, batch: object) -> None:
        """Take a batch."""


SWITCHES = {signal: Switch(_Nowhere()) for signal in Signal}
TRACES = {Signal.TRACES: SWITCHES[Signal.TRACES]}


@pytest.mark.parametrize(
    ("protocol", "other", "expected"),
    [
        ("http", Wanted("http", CONFIG, SWITCHES), True),
        ("http", Wanted("http", CONFIG, TRACES), True),
        ("http", Wanted("http", replace(CONFIG, max_request_bytes=5), SWITCHES), False),
        ("http", Wanted("http", replace(CONFIG, endpoint=Endpoint("127.0.0.1", 1)), SWITCHES), False),
        ("http", None, False),
        ("grpc", Wanted("grpc", CONFIG, SWITCHES), True),
        ("grpc", Wanted("grpc", CONFIG, TRACES), False),
    ],
)
def test_a_receiver_goes_on_where_it_can(protocol: str, other: Wanted | None, expected: bool) -> None:
    """It starts anew only for another endpoint or limit, over gRPC also for other signals."""
    assert Wanted(protocol, CONFIG, SWITCHES).can_become(other) is expected


def test_only_what_a_pipeline_names_is_wanted(config: CollectorConfig) -> None:
    """A receiver without a pipeline does not listen; each gets the consumers of its own signals."""
    receivers = {"otlp": config.receivers["otlp"], "otlp/unused": config.receivers["otlp"]}
    pipelines = {Signal.TRACES: config.pipelines[Signal.TRACES]}

    wanted = wanted_receivers(replace(config, receivers=receivers, pipelines=pipelines), TRACES)

    assert set(wanted) == {"otlp/http", "otlp/grpc"}
    assert {one.protocol for one in wanted.values()} == {"http", "grpc"}
    assert all(one.consumers == TRACES for one in wanted.values())
