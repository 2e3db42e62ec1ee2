"""Counting lookups, whatever the cache."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_agent.cache_lookups import CacheLookups, Lookup, LookupProcessor, count_lookups, found_by_get, tell_span


def test_names_beyond_the_limit_share_a_tally():
    """A host that makes up names does not make up series without end."""
    lookups = CacheLookups()

    tallies = {id(lookups.tally(Lookup("cachetools", "get", f"cache {number}"))) for number in range(2000)}

    assert len(tallies) == 501


def test_a_forked_child_forgets():
    """Tallies go to zero and stay the ones that caches hold."""
    lookups = CacheLookups()
    tally = lookups.tally(Lookup("redis", "GET"))
    tally.hits += 3

    lookups.forget()

    assert (tally.hits, lookups.tally(Lookup("redis", "GET")) is tally) == (0, True)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], {}),
        ([(1, 0)], {"cache.hit": True}),
        ([(0, 1)], {"cache.hit": False}),
        ([(1, 0), (1, 0)], {"cache.hit": True, "cache.hit_count": 2, "cache.miss_count": 0}),
        ([(1, 0), (3, 2)], {"cache.hit": False, "cache.hit_count": 4, "cache.miss_count": 2}),
    ],
)
def test_a_span_says_what_it_has_looked_up(found, expected):
    """`cache.hit` means that everything was there; the counts come with the second key."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(LookupProcessor())
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    with provider.get_tracer("test").start_as_current_span("span"):
        for hits, misses in found:
            tell_span(hits, misses)

    (span,) = exporter.get_finished_spans()
    assert dict(span.attributes) == expected


def test_a_span_may_end_with_its_attributes_full():
    """The limits of the SDK hold for what is written at the end too."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(LookupProcessor())
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    with provider.get_tracer("test").start_as_current_span("span") as span:
        span.set_attributes({f"a{number}": number for number in range(128)})
        tell_span(1, 0)

    (ended,) = exporter.get_finished_spans()
    assert (len(ended.attributes), ended.attributes["cache.hit"]) == (128, True)


def test_errors_and_replies_pass_through():
    """A backend answers and raises as it did before, and a method it lacks is not made up."""

    class Backend:
        def get(self, key, default=None):
            """Look up."""
            return {"a": 1}[key]

    backend = Backend()

    count_lookups(backend, "test", "backend", {"get": found_by_get, "get_many": found_by_get})

    with pytest.raises(KeyError):
        backend.get("b")
    assert (backend.get("a"), backend.get.__doc__, hasattr(backend, "get_many")) == (1, "Look up.", False)
