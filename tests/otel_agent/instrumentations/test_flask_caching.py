"""Hits and misses of Flask-Caching."""

import pytest

pytest.importorskip("flask_caching")


def test_views_functions_and_calls_are_counted(sink, run_host, lookups):
    """A cached view, a memoized function and direct calls are counted, what the library stores for itself is not."""
    outcome = run_host(
        """
from flask import Flask
from flask_caching import Cache
app = Flask("shop", root_path=".")
cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
@app.get("/")
@cache.cached()
def home():
    return "home"
@cache.memoize()
def double(x):
    return 2 * x
client = app.test_client()
print([client.get("/").text for _ in range(3)])
with app.app_context():
    print(double(1), double(1), double(2), double.__name__)
    cache.set("a", 1)
    print(cache.get("a"), cache.get("b"), cache.get_many("a", "b"))
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert (outcome.out, outcome.err) == ("['home', 'home', 'home']\n2 2 4 double\n1 None [1, None]\n", "")
    assert lookups() == {
        ("flask-caching", "get", "SimpleCache"): (2 + 1 + 1, 1 + 2 + 1),
        ("flask-caching", "get_many", "SimpleCache"): (1, 1),
    }
    assert [sink.attributes_of(span)["cache.hit"] for span in sink.spans_named("GET /")] == [False, True, True]
