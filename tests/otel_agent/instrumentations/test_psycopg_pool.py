"""Waits and use of psycopg's pools."""

import pytest

pytest.importorskip("psycopg_pool", exc_type=ImportError)


def test_a_wait_that_is_given_up_is_a_timeout(sink, run_host, dead_port):
    """A pool whose server is down tells its limit and the timeout of who asked it."""
    outcome = run_host(
        f"""
import psycopg_pool
with psycopg_pool.ConnectionPool("host=127.0.0.1 port={dead_port}", name="shop", min_size=0, max_size=3) as pool:
    try:
        pool.getconn(timeout=0.1)
    except psycopg_pool.PoolTimeout:
        print("timeout")
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert outcome.out == "timeout\n"
    assert "db.client.connection.timeouts" in sink.metric_names()
