"""Hits and misses of cachetools, which behaves as it does without us."""

import pytest

pytest.importorskip("cachetools")

BEHAVIOUR = """
import inspect, pickle, cachetools, cachetools.func
from cachetools import Cache, FIFOCache, LFUCache, LRUCache, RRCache, TLRUCache, TTLCache, cached, cachedmethod, keys

class Squares(LRUCache):
    def __missing__(self, key):
        self[key] = key * key
        return key * key

@cached(cache=TTLCache(maxsize=2, ttl=60), info=True)
def double(x):
    "Twice."
    return 2 * x

def cube(x):
    return x**3
cube = cached(LRUCache(3))(cube)

print(double(1), double(1), double(2), double(3), double.cache_info(), double.__doc__, double.__name__)
print(cube(2), cube(2), pickle.loads(pickle.dumps(cube)) is cube)
squares = Squares(2)
print(squares[3], squares[3], squares[4], squares[5], list(squares))
for made in (FIFOCache(1), LFUCache(1), LRUCache(1), RRCache(1), TLRUCache(1, lambda k, v, t: t + 60), TTLCache(1, 60)):
    made["a"] = 1
    made["b"] = 2
    try:
        made["a"]
    except KeyError as error:
        print(type(made).__name__, made.get("a", 7), made.get("b"), made.pop("b"), error, list(made))
restored = pickle.loads(pickle.dumps(LRUCache(3, getsizeof=len)))
print(restored, vars(cachetools.Cache).keys() >= {"__getitem__", "get"}, LRUCache.__getitem__.__qualname__)
print(inspect.signature(cached).parameters.keys(), inspect.signature(LRUCache.__getitem__).parameters.keys())
print(isinstance(made, Cache))
"""


def test_the_host_sees_no_difference(sink, run_host):
    """Values, errors, evictions, pickling, names and signatures are the same with the agent and without."""
    without = run_host(BEHAVIOUR, agent=False)

    outcome = run_host(BEHAVIOUR, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.code, outcome.out, outcome.err) == (0, without.out, without.err)
    assert without.err == ""


def test_lookups_are_counted_by_function_or_class(sink, run_host, lookups):
    """A decorated function's cache has its name, others that of their class; evictions are no lookups."""
    outcome = run_host(BEHAVIOUR, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert outcome.err == ""
    counts = lookups()
    assert counts["cachetools", "get", "__main__.double"] == (1, 3)
    assert counts["cachetools", "get", "__main__.cube"] == (1, 1)
    assert counts["cachetools", "get", "Squares"] == (1, 3)
    kinds = ("FIFOCache", "LFUCache", "LRUCache", "RRCache", "TLRUCache", "TTLCache")
    # ["a"] and get("a") miss, get("b") and pop("b") hit.
    assert {kind: counts["cachetools", "get", kind] for kind in kinds} == dict.fromkeys(kinds, (2, 2))


def test_the_current_span_says_what_it_found(sink, run_host):
    """A span with several lookups has both counts, and a hit only if all were."""
    run_host(
        """
from cachetools import LRUCache
from opentelemetry import trace
cache = LRUCache(3)
cache["a"] = 1
tracer = trace.get_tracer("host")
for name, keys in (("one", "a"), ("several", "aab")):
    with tracer.start_as_current_span(name):
        for key in keys:
            cache.get(key)
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    found = {span.name: sink.attributes_of(span) for _, _, span in sink.spans}
    several = {"cache.hit": False, "cache.hit_count": 2, "cache.miss_count": 1}
    assert found == {"one": {"cache.hit": True}, "several": several}
