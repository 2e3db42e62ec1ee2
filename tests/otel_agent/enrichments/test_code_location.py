"""Where in the host's code a span was made."""

import sys

import pytest

from otel_agent.attribute_values import CleanAttributes
from otel_agent.database import Database, StatementTracer
from otel_agent.enrichments import code_location


def _locations(sink, folder):
    """Return the (file, line, function) of each span by its name, files relative to the host's folder."""
    found = {}
    for _, _, span in sink.spans:
        attributes = sink.attributes_of(span)
        if "code.file.path" in attributes:
            path = attributes["code.file.path"].removeprefix(f"{folder}/")
            found[span.name] = path, attributes["code.line.number"], attributes["code.function.name"]
    return found


def test_it_is_the_hosts_line_that_calls_the_library(sink, run_host, tmp_path):
    """Statements, requests and messages name the host's line, whichever way through libraries they took."""
    pytest.importorskip("sqlalchemy")
    (tmp_path / "src" / "shop").mkdir(parents=True)
    (tmp_path / "src" / "shop" / "orders.py").write_text(
        "def load(connection):\n    return connection.execute('SELECT 1 FROM sqlite_master')\n"
    )
    outcome = run_host(
        f"""
import sqlite3, sys
sys.path.insert(0, "src")
from shop import orders
import requests, sqlalchemy
orders.load(sqlite3.connect(":memory:"))
class Shop:
    def items(self):
        with sqlalchemy.create_engine("sqlite://").connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1 FROM sqlite_schema"))
Shop().items()
requests.post("http://127.0.0.1:{sink.port}/other", data=b"")
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert outcome.err == ""
    qualified = sys_qualname("Shop.items")
    assert _locations(sink, tmp_path) == {
        "SELECT sqlite_master": ("src/shop/orders.py", 2, "shop.orders.load"),
        "SELECT sqlite_schema": ("host.py", 10, f"__main__.{qualified}"),
        "POST": ("host.py", 12, "__main__.<module>"),
    }


def sys_qualname(name):
    """Return what Python knows of a qualified name; before 3.11 code objects know the function alone."""
    return name if hasattr(sys_qualname.__code__, "co_qualname") else name.rpartition(".")[2]


def test_coroutines_are_named_too(sink, run_host, tmp_path):
    """A coroutine that awaits httpx, aiohttp or SQLAlchemy's asyncio extension is named by its own line."""
    for library in ("aiohttp", "httpx", "sqlalchemy", "greenlet"):
        pytest.importorskip(library)
    outcome = run_host(
        f"""
import asyncio, aiohttp, httpx, sqlalchemy
from sqlalchemy.util import greenlet_spawn
url = "http://127.0.0.1:{sink.port}/other"
async def by_httpx():
    async with httpx.AsyncClient() as client:
        await client.post(url, content=b"")
async def by_aiohttp():
    async with aiohttp.ClientSession() as session:
        async with session.put(url, data=b""):
            pass
async def by_greenlet():
    engine = sqlalchemy.create_engine("sqlite://")
    connection = await greenlet_spawn(engine.connect)
    await greenlet_spawn(connection.execute, sqlalchemy.text("SELECT 1 FROM sqlite_master"))
for main in (by_httpx, by_aiohttp, by_greenlet):
    asyncio.run(main())
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert outcome.err == ""
    assert _locations(sink, tmp_path) == {
        "POST": ("host.py", 7, "__main__.by_httpx"),
        "PUT": ("host.py", 10, "__main__.by_aiohttp"),
        "SELECT sqlite_master": ("host.py", 15, "__main__.by_greenlet"),
    }


def test_only_spans_that_leave_the_process_have_one(sink, run_host):
    """Internal spans have none, and nobody has when it is switched off."""
    script = """
import sqlite3
from opentelemetry import trace
with trace.get_tracer("host").start_as_current_span("inner"):
    sqlite3.connect(":memory:").execute("SELECT 1")
"""
    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)
    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="code_location")

    has = [(span.name, "code.line.number" in sink.attributes_of(span)) for _, _, span in sink.spans]
    assert has == [("SELECT", True), ("inner", False), ("SELECT", False), ("inner", False)]


def test_each_place_has_its_own_location(sink, run_host, tmp_path):
    """The same statement from two lines, and the same lines under two module names, are told apart."""
    outcome = run_host(
        """
import sqlite3
connection = sqlite3.connect(":memory:")
code = compile("def load():\\n    connection.execute('SELECT 1')", __file__, "exec")
for name in ("a", "b", "a"):
    namespace = {"__name__": name, "connection": connection}
    exec(code, namespace)
    namespace["load"]()
for _ in range(2):
    connection.execute("SELECT 1")
connection.execute("SELECT 1")
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert outcome.err == ""
    places = [
        (attributes["code.function.name"], attributes["code.line.number"])
        for attributes in (sink.attributes_of(span) for span in sink.spans_named("SELECT"))
    ]
    module = "__main__.<module>"
    assert places == [("a.load", 2), ("b.load", 2), ("a.load", 2), (module, 10), (module, 10), (module, 11)]


def test_what_is_kept_is_bounded():
    """A host of ever new statements has no more of them kept than some hundred, and none that is long."""
    frame = sys._getframe()
    for number in range(2 * code_location._MOST_KNOWN):
        code_location._placed(CleanAttributes(a=number), frame)

    assert 0 < len(code_location._known) <= code_location._MOST_KNOWN
    tracer, database = StatementTracer("a"), Database("sqlite")
    kinds = [type(tracer.describe(f"SELECT {'x' * length}", database).attributes) for length in (10, 10_000)]
    assert kinds == [CleanAttributes, dict]
