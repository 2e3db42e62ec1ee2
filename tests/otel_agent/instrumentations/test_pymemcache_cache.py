"""Hits and misses of memcached commands."""

import pytest

pytest.importorskip("pymemcache")


def test_reading_one_or_several_keys_is_counted(sink, run_host, memcached_port, lookups):
    """What came back is a hit, what did not is a miss; the span of the command is there and says so."""
    outcome = run_host(
        f"""
from pymemcache.client.base import Client
client = Client(("127.0.0.1", {memcached_port}))
print(client.get("a"), client.get("x", 5), client.get_many(["a", "b", "x"]), client.gets("b"))
client.close()
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert (outcome.out, outcome.err) == ("b'1' 5 {'a': b'1', 'b': b'2'} (b'2', b'7')\n", "")
    assert lookups() == {("memcached", "get"): (3, 2), ("memcached", "gets"): (1, 0)}
    found = [sink.attributes_of(span).get("cache.hit") for span in sink.spans_named("get")]
    assert found == [True, False]
    (several,) = sink.spans_named("get_many")
    attributes = sink.attributes_of(several)
    assert (attributes["cache.hit"], attributes["cache.hit_count"], attributes["cache.miss_count"]) == (False, 2, 1)
