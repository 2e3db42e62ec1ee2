"""Hits and misses of functools' caches, which stay what they are."""

import sys

import pytest

HOST = """
import copy, functools, inspect, pickle
from functools import lru_cache

@lru_cache
def plain(x):
    "Doc."
    return x

@functools.lru_cache(maxsize=2, typed=True)
def sized(x):
    return x

@functools.cache
def unbounded(x):
    return x

class Shop:
    @functools.lru_cache(3)
    def price(self, x):
        return x

shop = Shop()
for function in (plain, sized, unbounded, shop.price):
    print([function(x) for x in (1, 1, 2, 3)], function.cache_info(), function.cache_parameters())
print(type(plain) is functools._lru_cache_wrapper, plain.__doc__, plain.__wrapped__.__name__, vars(plain).keys())
print(pickle.loads(pickle.dumps(plain)) is plain, copy.deepcopy(plain) is plain)
print(inspect.signature(functools.lru_cache), lru_cache.__name__, lru_cache.__module__, lru_cache.__doc__[:30])
print(pickle.loads(pickle.dumps(lru_cache)) is lru_cache)
try:
    lru_cache("many")
except TypeError as error:
    print(error)
"""


def test_the_host_sees_no_difference(sink, run_host):
    """The caches are functools' own type, with the same attributes, errors, pickling and signature."""
    without = run_host(HOST, agent=False)

    outcome = run_host(HOST, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.code, outcome.out, outcome.err) == (0, without.out, without.err)
    assert without.err == ""


def test_calls_are_counted_by_function(sink, run_host, lookups):
    """Each decorated function of the host has its counts, and no library's has."""
    run_host(HOST, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    names = ("plain", "sized", "unbounded", "Shop.price")
    assert lookups() == {("lru_cache", "call", f"__main__.{name}"): (1, 3) for name in names}


def test_counts_survive_clearing_and_the_death_of_a_cache(sink, run_host, lookups):
    """What was counted before `cache_clear` or before the cache was dropped, and has been read, is kept."""
    run_host(
        """
import functools
from opentelemetry.metrics import get_meter_provider
def make():
    @functools.cache
    def made(x):
        return x
    made(1), made(1), made(2)
    return made
made = make()
get_meter_provider().force_flush()
made.cache_clear()
made(1)
get_meter_provider().force_flush()
del made
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert lookups() == {("lru_cache", "call", "__main__.make.<locals>.made"): (1, 3)}


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_child_counts_from_nothing(sink, run_host):
    """A child does not report its parent's lookups a second time."""
    outcome = run_host(
        """
import functools, os, sys
@functools.cache
def made(x):
    return x
made(1), made(1)
pid = os.fork()
if pid == 0:
    made(1), made(1), made(1)
    sys.exit(0)
os.waitpid(pid, 0)
print(os.getpid(), pid)
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    parent, child = (int(word) for word in outcome.out.split())
    hits = {
        resource["process.pid"]: metric.sum.data_points[0].as_int
        for resource, _, metric in sink.metrics
        if metric.name == "cache.hit"
    }
    assert hits == {parent: 1, child: 3}
