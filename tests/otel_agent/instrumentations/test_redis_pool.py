"""Waits and use of Redis pools."""

import pytest

pytest.importorskip("redis")


def test_use_of_pools_and_waits_of_blocking_ones_are_measured(sink, run_host, redis_port):
    """Pools tell their use and limit; a command that waited for its connection says so, in coroutines too."""
    outcome = run_host(
        f"""
import asyncio, threading, redis, redis.asyncio
from opentelemetry.metrics import get_meter_provider
plain = redis.Redis(port={redis_port}, max_connections=9)
plain.get("a")
pool = redis.BlockingConnectionPool(host="127.0.0.1", port={redis_port}, max_connections=1, timeout=0.3)
client = redis.Redis(connection_pool=pool)
taken = pool.get_connection()
threading.Timer(0.1, pool.release, (taken,)).start()
client.get("a")
taken = pool.get_connection()
try:
    client.get("b")
except redis.ConnectionError as error:
    print(error)
pool.release(taken)
async def main():
    pool = redis.asyncio.BlockingConnectionPool(port={redis_port}, db=2, max_connections=1)
    async with redis.asyncio.Redis(connection_pool=pool) as client:
        await asyncio.gather(client.get("a"), client.get("b"))
    get_meter_provider().force_flush()
asyncio.run(main())
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert (outcome.out, outcome.err) == ("No connection available.\n", "")
    waits = [sink.attributes_of(span).get("db.client.connection.wait_time", 0) for span in sink.spans_named("GET")]
    assert waits[0] == 0
    assert waits[1] > 0.05
    points = {}
    for _, _, metric in sink.metrics:
        for point in [*metric.sum.data_points, *metric.histogram.data_points]:
            attributes = sink.attributes_of(point)
            if "db.client.connection.pool.name" in attributes:
                name = attributes["db.client.connection.pool.name"], attributes.get("db.client.connection.state")
                points[(metric.name.rpartition(".")[2], *name)] = point
    server = f"127.0.0.1:{redis_port}/0"
    assert points["timeouts", server, None].as_int == 1
    assert points["wait_time", server, None].count == 3
    assert points["max", server, None].as_int == 1
    assert points["count", server, "idle"].as_int == 1
    assert points["count", f"localhost:{redis_port}/0", "idle"].as_int == 1
    assert points["wait_time", f"localhost:{redis_port}/2", None].count == 2
