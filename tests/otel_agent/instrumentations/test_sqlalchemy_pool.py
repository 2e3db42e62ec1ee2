"""Waits and use of SQLAlchemy's pools."""

import pytest

pytest.importorskip("sqlalchemy")


def test_waits_use_and_timeouts_are_measured(sink, run_host):
    """Who waits for a connection has it on the span; the pool tells its use, limit, waits and timeouts."""
    outcome = run_host(
        """
import threading, time
from opentelemetry import trace
from opentelemetry.metrics import get_meter_provider
from sqlalchemy import create_engine, exc, pool, text
engine = create_engine("sqlite:///shop.db", poolclass=pool.QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.3)
tracer = trace.get_tracer("host")
first = engine.connect()
threading.Timer(0.1, first.close).start()
with tracer.start_as_current_span("waits"):
    second = engine.connect()
try:
    engine.connect()
except exc.TimeoutError:
    print("timeout")
get_meter_provider().force_flush()
second.close()
with tracer.start_as_current_span("does not"), engine.connect() as third:
    print(third.execute(text("SELECT 1")).scalar(), engine.pool.status())
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert outcome.err == ""
    assert outcome.out.startswith("timeout\n1 Pool size: 1  Connections in pool: 0")
    (waiting,) = sink.spans_named("waits")
    assert 0.05 < sink.attributes_of(waiting)["db.client.connection.wait_time"] < 0.3
    assert "db.client.connection.wait_time" not in sink.attributes_of(sink.spans_named("does not")[0])
    points = {}
    for _, _, metric in sink.metrics:
        for point in [*metric.sum.data_points, *metric.histogram.data_points]:
            attributes = sink.attributes_of(point)
            if attributes.get("db.client.connection.pool.name") == "shop.db":
                points.setdefault((metric.name, attributes.get("db.client.connection.state")), []).append(point)
    assert points["db.client.connection.wait_time", None][-1].count == 3
    assert points["db.client.connection.timeouts", None][-1].as_int == 1
    assert points["db.client.connection.max", None][0].as_int == 1
    assert [points["db.client.connection.count", state][0].as_int for state in ("idle", "used")] == [0, 1]
    assert [points["db.client.connection.count", state][-1].as_int for state in ("idle", "used")] == [1, 0]


def test_pools_are_named_after_server_and_database(sink, run_host, dead_port):
    """The name is the conventions': server, port and database; or the host's own; other pools are left alone."""
    run_host(
        f"""
from contextlib import suppress
from sqlalchemy import create_engine, pool
for url, options in (
    ("postgresql+psycopg://shop:secret@127.0.0.1:{dead_port}/shop", {{}}),
    ("sqlite:///a.db", {{"poolclass": pool.QueuePool, "pool_logging_name": "mine"}}),
    ("sqlite:///b.db", {{"poolclass": pool.NullPool}}),
):
    engine = create_engine(url, **options)
    engines = [*globals().get("engines", ()), engine]
    with suppress(Exception):
        engine.raw_connection().close()
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    names = {
        sink.attributes_of(point)["db.client.connection.pool.name"]
        for _, _, metric in sink.metrics
        if metric.name == "db.client.connection.max"
        for point in metric.sum.data_points
    }
    assert names == {f"127.0.0.1:{dead_port}/shop", "mine"}
