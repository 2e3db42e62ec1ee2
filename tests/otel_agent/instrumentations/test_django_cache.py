"""Hits and misses of Django's caches."""

import pytest

pytest.importorskip("django")


def test_every_way_to_ask_is_counted_once(sink, run_host, lookups):
    """Whatever calls whatever within a backend, a lookup is counted once, under the alias of the cache."""
    outcome = run_host(
        """
import asyncio
from django.conf import settings
settings.configure(CACHES={
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "files": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": "cache"},
})
from django.core.cache import cache, caches
cache.set("a", 1)
cache.set("none", None)
print(cache.get("a"), cache.get("x"), cache.get("x", 5), cache.get("none", "nothing"))
print(cache.get_many(["a", "x"]), cache.has_key("a"), "x" in cache)
print(cache.get_or_set("b", 2), cache.get_or_set("b", 3))
print(asyncio.run(cache.aget("a")), asyncio.run(cache.aget_or_set("c", 4)))
print(caches["files"].get("a"), cache.incr("a"))
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert outcome.out == "1 None 5 None\n{'a': 1} True False\n2 2\n1 4\nNone 2\n"
    assert outcome.err == ""
    assert lookups() == {
        ("django", "get", "default"): (3, 2),
        ("django", "get_many", "default"): (1, 1),
        ("django", "has_key", "default"): (1, 1),
        ("django", "get_or_set", "default"): (1, 1),
        ("django", "aget_or_set", "default"): (0, 1),
        ("django", "get", "files"): (0, 1),
    }


def test_a_backend_of_the_hosts_own_is_counted_once(sink, run_host, lookups):
    """A subclass that calls its parent's `get` counts once, and sees the arguments it was given."""
    outcome = run_host(
        """
import sys
from django.conf import settings
settings.configure(CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
                           "mine": {"BACKEND": "__main__.Mine"}})
from django.core.cache import cache, caches
from django.core.cache.backends.locmem import LocMemCache
class Mine(LocMemCache):
    def get(self, key, default=None, version=None):
        value = super().get(key, default, version)
        return "computed" if value is None else value
print(cache.get("a"), caches["mine"].get("a"))
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert (outcome.out, outcome.err) == ("None computed\n", "")
    assert lookups() == {("django", "get", "default"): (0, 1), ("django", "get", "mine"): (1, 0)}
