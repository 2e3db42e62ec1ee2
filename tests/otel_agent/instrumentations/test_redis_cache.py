"""Hits and misses of Redis commands."""

import pytest

pytest.importorskip("redis")


def test_commands_and_pipelines_are_hits_or_misses(sink, run_host, redis_port, lookups):
    """Every reading command is counted by key, in pipelines and coroutines too; its span says what it found."""
    outcome = run_host(
        f"""
import asyncio, redis, redis.asyncio
client = redis.Redis(port={redis_port}, decode_responses=True)
client.flushall()
client.set("a", "1")
client.hset("h", "f", "1")
print(client.get("a"), client.get("nothing"), client.getex("a"), client.hget("h", "f"), client.hgetall("none"))
print(client.mget("a", "b", "c"))
for transaction in (True, False):
    pipeline = client.pipeline(transaction=transaction)
    pipeline.get("a").set("d", "1").get("b")
    print(pipeline.execute())
async def main():
    async with redis.asyncio.Redis(port={redis_port}) as other:
        await other.hmget("h", ["f", "g"])
        pipeline = other.pipeline()
        pipeline.get("a")
        await pipeline.execute()
asyncio.run(main())
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert outcome.out == "1 None 1 1 {}\n['1', None, None]\n['1', True, None]\n['1', True, None]\n"
    assert outcome.err == ""
    assert lookups() == {
        ("redis", "GET"): (4, 3),
        ("redis", "GETEX"): (1, 0),
        ("redis", "HGET"): (1, 0),
        ("redis", "HGETALL"): (0, 1),
        ("redis", "MGET"): (1, 2),
        ("redis", "HMGET"): (1, 1),
    }
    on_spans = [
        (span.name, sink.attributes_of(span)["cache.hit"], sink.attributes_of(span).get("cache.miss_count"))
        for _, _, span in sink.spans
        if "cache.hit" in sink.attributes_of(span)
    ]
    assert on_spans[:6] == [
        ("GET", True, None),
        ("GET", False, None),
        ("GETEX", True, None),
        ("HGET", True, None),
        ("HGETALL", False, None),
        ("MGET", False, 2),
    ]
    assert on_spans[6:8] == [("GET SET GET", False, 1)] * 2


def test_it_can_be_switched_off(sink, run_host, redis_port):
    """Without it the spans of the commands are as they were."""
    run_host(
        f"import redis; redis.Redis(port={redis_port}).get('a')",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="redis_cache",
    )

    (span,) = sink.spans_named("GET")
    assert "cache.hit" not in sink.attributes_of(span)
    assert "cache.hit" not in sink.metric_names()
