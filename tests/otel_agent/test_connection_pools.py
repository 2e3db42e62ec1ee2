"""Pools of connections, whatever the library."""

import gc

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_agent import connection_pools
from otel_agent.connection_pools import ConnectionPools, PoolState


class Pool:
    """A pool of one connection in use and two idle."""

    def __init__(self, maximum):
        self.state = PoolState(2, 1, maximum)


@pytest.fixture
def reader(monkeypatch):
    """Return a reader of everything that pools measure."""
    reader = InMemoryMetricReader()
    monkeypatch.setattr(connection_pools.metrics, "get_meter", MeterProvider([reader]).get_meter)
    return reader


def _values(reader):
    data = reader.get_metrics_data()
    metrics = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics] if data else []
    return {(m.name.rpartition(".")[2], *p.attributes.values()): p for m in metrics for p in m.data.data_points}


def test_pools_of_one_name_are_added_up(reader):
    """Two engines on one database are one series; one without a limit makes the sum limitless."""
    pools = ConnectionPools("test", lambda pool: pool.state, lambda error: False)
    alive = [Pool(5), Pool(5), Pool(None), Pool(7)]
    for pool, name in zip(alive, ("a", "a", "b", "b"), strict=True):
        pools.add(pool, name)

    values = {key: point.value for key, point in _values(reader).items()}

    assert values == {
        ("count", "a", "idle"): 4,
        ("count", "a", "used"): 2,
        ("count", "b", "idle"): 4,
        ("count", "b", "used"): 2,
        ("max", "a"): 10,
    }


def test_a_pool_is_held_weakly(reader):
    """A pool that the host has dropped is gone from the metrics."""
    pools = ConnectionPools("test", lambda pool: pool.state, lambda error: False)
    pools.add(Pool(5), "a")
    gc.collect()

    assert _values(reader) == {}


def test_errors_pass_through_and_timeouts_are_counted(reader):
    """A wait that ends in an error is no wait time; only the library's timeout is a timeout."""
    pools = ConnectionPools("test", lambda pool: pool.state, lambda error: isinstance(error, TimeoutError))

    for error in (TimeoutError, ValueError):
        with pytest.raises(error), pools.wait("a"):
            raise error

    values = _values(reader)
    assert values.keys() == {("timeouts", "a")}
    assert values["timeouts", "a"].value == 1
